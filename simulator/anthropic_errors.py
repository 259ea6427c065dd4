"""Anthropic's refusals. Shapes: anthropic PyPI `_exceptions.py`; platform.claude.com/docs/en/api/errors."""

from __future__ import annotations

import time
from typing import Any

import orjson

from simulator.config import RateHeaders
from simulator.limits import Shortage
from simulator.notices import Dialect
from simulator.refusals import Refusal

_LIMIT_NAMES = {"requests": "requests per minute", "tokens": "tokens per minute"}


class AnthropicErrors:
    """The half of a wire that refuses."""

    dialect = Dialect.ANTHROPIC

    def invalid(self, message: str, field: str | None = None) -> Refusal:
        """400; the field stands in front of what is wrong with it."""
        return _refusal(400, "invalid_request_error", message if field is None else f"{field}: {message}")

    def no_key(self) -> Refusal:
        """401."""
        return _refusal(401, "authentication_error", "x-api-key header is required")

    def bad_key(self) -> Refusal:
        """401."""
        return _refusal(401, "authentication_error", "invalid x-api-key")

    def unknown_model(self, model: str) -> Refusal:
        """404."""
        return _refusal(404, "not_found_error", f"model: {model}")

    def rate_limited(self, model: str, wait_s: float | None) -> Refusal:
        """429; only the header states a wait."""
        return _refusal(429, "rate_limit_error", "This request would exceed your organization's rate limit.")

    def quota_used_up(self) -> Refusal:
        """429 for the month's spend limit."""
        text = "This request would exceed your organization's enforced spend limit."
        return _refusal(429, "rate_limit_error", text, code="enforced_spend_limit_reached")

    def no_money(self) -> Refusal:
        """402."""
        return _refusal(402, "billing_error", "Your credit balance is too low to access the Anthropic API.")

    def short(self, model: str, shortage: Shortage, told: RateHeaders) -> Refusal:
        """429; the text names the limit, the headers its state."""
        name = _LIMIT_NAMES.get(shortage.kind, "concurrent connections")
        text = f"This request would exceed your organization's rate limit of {shortage.limit} {name} for {model}."
        return _refusal(429, "rate_limit_error", text)

    def failed(self, status: int) -> Refusal:
        """529 is this wire's word for an overload; 500 and 503 are errors of the service."""
        if status == 529:
            return _refusal(529, "overloaded_error", "Overloaded")
        return _refusal(status, "api_error", "Internal server error")


def request_id() -> str:
    """An id for a request; plausible, not unique: nothing may depend on it."""
    return f"req_sim{time.time_ns():x}"


def id_line(request_id: str) -> bytes:
    """The header line every answer has."""
    return f"request-id: {request_id}\r\n".encode()


def error_object(kind: str, message: str, request_id: str, *, code: str | None = None) -> dict[str, Any]:
    """`{"type": "error", "error": …}`; the code is what a caller should branch on."""
    error: dict[str, Any] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": request_id}


def _refusal(status: int, kind: str, message: str, *, code: str | None = None) -> Refusal:
    named = request_id()
    return Refusal(status, orjson.dumps(error_object(kind, message, named, code=code)), id_line(named))
