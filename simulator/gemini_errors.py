"""Google's refusals: `google.rpc.Status` with its details.

Shapes: google-genai PyPI `errors.py`; cloud.google.com/apis/design/errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import orjson

from simulator.config import RateHeaders
from simulator.limits import Shortage
from simulator.notices import Dialect
from simulator.refusals import Refusal

_TYPE = "type.googleapis.com/google.rpc."
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_QUOTAS = {
    "requests": ("generate_requests_per_model", "GenerateRequestsPerMinutePerProjectPerModel"),
    "tokens": (
        "generate_content_paid_tier_input_token_count",
        "GenerateContentPaidTierInputTokensPerModelPerMinute",
    ),
    "concurrency": ("generate_concurrent_requests", "GenerateConcurrentRequestsPerProjectPerModel"),
    "day": ("generate_requests_per_model_per_day", "GenerateRequestsPerDayPerProjectPerModel"),
}
"""By kind of limit: the last part of `quotaMetric`, and `quotaId`."""

Json = dict[str, Any]


class GeminiErrors:
    """The half of a wire that refuses."""

    dialect = Dialect.GOOGLE

    def invalid(self, message: str, field: str | None = None) -> Refusal:
        """400."""
        details = []
        if field is not None:
            violation = {"field": field, "description": message}
            details = [{"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]}]
        return _refusal(400, "INVALID_ARGUMENT", message, details)

    def no_key(self) -> Refusal:
        """403."""
        text = (
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key "
            "or other form of API consumer identity to call this API."
        )
        return _refusal(403, "PERMISSION_DENIED", text)

    def bad_key(self) -> Refusal:
        """400, as any wrong argument; only the reason tells."""
        info = {"@type": f"{_TYPE}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        return _refusal(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [info])

    def unknown_model(self, model: str) -> Refusal:
        """404."""
        text = (
            f"models/{model} is not found for API version v1beta, or is not supported for generateContent. Call "
            "ListModels to see the list of available models and their supported methods."
        )
        return _refusal(404, "NOT_FOUND", text)

    def rate_limited(self, model: str, wait_s: float | None) -> Refusal:
        """429; the wait stands in the body, if any does."""
        return _exhausted("requests", model, None, wait_s, wait_s)

    def quota_used_up(self) -> Refusal:
        """429 for the day's quota, which states no wait."""
        return _exhausted("day", None, None, None, None)

    def no_money(self) -> Refusal:
        """402, prepaid credit used up."""
        return _refusal(402, "RESOURCE_EXHAUSTED", "Your prepaid credit is used up.")

    def short(self, model: str, shortage: Shortage, told: RateHeaders) -> Refusal:
        """429 with the quota that ran out."""
        delay_s = None if told == "none" else shortage.wait_s
        said_s = shortage.wait_s if told == "openai" else None
        return _exhausted(shortage.kind, model, shortage.limit, delay_s, said_s)

    def failed(self, status: int) -> Refusal:
        """500 in Google's words; 503, and 529 as a gateway in front of it may have it."""
        if status == 500:
            return _refusal(500, "INTERNAL", "An internal error has occurred. Please retry.")
        return _refusal(status, "UNAVAILABLE", "The model is overloaded. Please try again later.")


def error_object(status: int, name: str, message: str, details: Sequence[Json] = ()) -> Json:
    """`{"error": …}`."""
    error: Json = {"code": status, "message": message, "status": name}
    return {"error": {**error, "details": list(details)} if details else error}


def _exhausted(
    kind: str, model: str | None, limit: int | None, delay_s: float | None, said_s: float | None
) -> Refusal:
    """429 RESOURCE_EXHAUSTED.

    Args:
        kind: A key of `_QUOTAS`.
        limit: Of the quota; None: not told.
        delay_s: What RetryInfo states; None: there is none.
        said_s: What the text states.
    """
    metric, quota = _QUOTAS[kind]
    violation: Json = {"quotaMetric": f"generativelanguage.googleapis.com/{metric}", "quotaId": quota}
    if model is not None:
        violation["quotaDimensions"] = {"location": "global", "model": model}
    if limit is not None:
        violation["quotaValue"] = str(limit)
    details: list[Json] = [{"@type": f"{_TYPE}QuotaFailure", "violations": [violation]}]
    text = f"{_QUOTA}\n* Quota exceeded for metric: {violation['quotaMetric']}"
    if said_s is not None:
        text += f"\nPlease retry in {said_s:.9g}s."
    if delay_s is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": _duration(delay_s)})
    return _refusal(429, "RESOURCE_EXHAUSTED", text, details)


def _duration(seconds: float) -> str:
    """A protocol buffers duration to the millisecond, rounded up: `36s`, `0.5s`."""
    return f"{math.ceil(seconds * 1000) / 1000:.3f}".rstrip("0").rstrip(".") + "s"


def _refusal(status: int, name: str, message: str, details: Sequence[Json] = ()) -> Refusal:
    return Refusal(status, orjson.dumps(error_object(status, name, message, details)))
