"""OpenAI's refusals, the same on all of its wires. Shapes: openai/openai-openapi."""

from __future__ import annotations

from typing import Any

import orjson

from simulator.config import RateHeaders
from simulator.durations import go_duration
from simulator.framing import Request
from simulator.limits import Shortage
from simulator.notices import Dialect
from simulator.refusals import Refusal
from simulator.wire import bearer

_LIMIT_NAMES = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}
SERVER_ERROR = "The server had an error while processing your request."


class OpenAIErrors:
    """The half of a wire that refuses."""

    dialect = Dialect.OPENAI

    def key(self, request: Request) -> bytes | None:
        """Bearer."""
        return bearer(request)

    def invalid(self, message: str, field: str | None = None) -> Refusal:
        """400."""
        return _refusal(400, message, "invalid_request_error", param=field)

    def no_key(self) -> Refusal:
        """401."""
        return _refusal(401, "You didn't provide an API key.", "invalid_request_error")

    def bad_key(self) -> Refusal:
        """401."""
        return _refusal(401, "Incorrect API key provided", "invalid_request_error", code="invalid_api_key")

    def unknown_model(self, model: str) -> Refusal:
        """404."""
        text = f"The model `{model}` does not exist or you do not have access to it."
        return _refusal(404, text, "invalid_request_error", param="model", code="model_not_found")

    def rate_limited(self, model: str, wait_s: float | None) -> Refusal:
        """429; the text names no wait, so that only the headers can."""
        return _refusal(429, f"Rate limit reached for {model}.", "requests", code="rate_limit_exceeded")

    def quota_used_up(self) -> Refusal:
        """429 in OpenAI's words."""
        text = "You exceeded your current quota, please check your plan and billing details."
        return _refusal(429, text, "insufficient_quota", code="insufficient_quota")

    def no_money(self) -> Refusal:
        """402 in DeepSeek's words; OpenAI has none."""
        return _refusal(402, "Insufficient Balance", "unknown_error", code="invalid_request_error")

    def short(self, model: str, shortage: Shortage, told: RateHeaders) -> Refusal:
        """429 in OpenAI's words."""
        name = _LIMIT_NAMES.get(shortage.kind, "concurrent requests")
        numbers = f"Limit {shortage.limit}, Used {shortage.used}, Requested {shortage.requested}."
        if shortage.wait_s is None:
            text = f"Request too large for {model} on {name}: {numbers} The input or output tokens must be reduced."
        else:
            hint = f" Please try again in {go_duration(shortage.wait_s)}." if told == "openai" else ""
            text = f"Rate limit reached for {model} on {name}: {numbers}{hint}"
        kind = "tokens" if shortage.kind == "tokens" else "requests"
        return _refusal(429, text, kind, code="rate_limit_exceeded")

    def failed(self, status: int) -> Refusal:
        """500 or 503 in OpenAI's words, 529 with Anthropic's type."""
        overloaded = "The server is currently overloaded with other requests."
        if status == 503:
            return _refusal(503, overloaded, "service_unavailable_error", code="server_is_overloaded")
        if status == 529:
            return _refusal(529, overloaded, "overloaded_error")
        return _refusal(status, SERVER_ERROR, "server_error")


def error_object(
    message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """`{"error": …}`."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _refusal(
    status: int, message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> Refusal:
    return Refusal(status, orjson.dumps(error_object(message, kind, param=param, code=code)))
