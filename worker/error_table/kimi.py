"""Kimi For Coding and the Moonshot platform behind it (docs/provider-wire.md §5, §6)."""

from __future__ import annotations

from worker.error_table.meaning import (
    NO_CREDIT,
    SAMPLING_IS_FIXED,
    TOO_LONG,
    broken,
    limited,
    quota,
)
from worker.error_table.row import row

_OVERLOADED = row(
    429,
    "engine.{0,30}overloaded|engine_overloaded_error",
    means=broken("model", own_s=(5, 60), code="overloaded"),
)

KIMI = (
    row(400, "invalid temperature", means=SAMPLING_IS_FIXED),
    row(403, "limit for this billing cycle", means=quota(own_s=(3600, 86_400))),
    _OVERLOADED,
    # The window is 5 h; when it began is known to `GET /usages` only, so it is asked again before.
    row(429, "limit for this period", means=quota(own_s=(900, 18_000))),
    row(429, "too many requests", means=limited("account", own_s=(5, 30), dimension="requests")),
)

_NO_BALANCE = (
    "exceeded_current_quota_error|exceeded your current quota|check your account balance|insufficient balance"
    "|please recharge|in arrears"
)

MOONSHOT = (
    row(400, "invalid temperature", means=SAMPLING_IS_FIXED),
    row(400, "exceeded model token limit", means=TOO_LONG),
    _OVERLOADED,
    row(429, _NO_BALANCE, means=NO_CREDIT),
    row(429, r"\btpd\b", means=quota(own_s=(3600, 3600))),
    row(429, r"\btpm\b", means=limited("account", own_s=(5, 60), dimension="tokens")),
    row(429, "concurrency", means=limited("account", own_s=(1, 5), dimension="concurrency")),
    row(429, r"\brpm\b", means=limited("account", own_s=(1, 5), dimension="requests")),
    row(429, means=limited("account", own_s=(1, 60))),
)
