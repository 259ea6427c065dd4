"""Rate headers, as OpenAI and Anthropic send them with every answer (docs/provider-wire.md §7, §13). Pure.

Anthropic's limits are per minute by definition. OpenAI's headers have one name for limits per minute and per
day, so the reset tells them apart. It is the time until the bucket is full again: over a minute, it is no
minute's bucket. Below that, a day's bucket of which little is used gives itself away by its pace: 10,000
requests a day with one used are full again in 8.64 s, and 8.64 s x 10,000 / 1 is a day.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.observed_limits import ObservedLimits
from worker.duration import duration_s

_MINUTE_S = 60.0
_DAY_S = 86_400.0
_PACE_TOLERANCE = 0.1
"""Resets are rounded by those who send them."""

_VARIANTS = ("", "_usage_based")
"""OpenAI's second spelling, seen on accounts that pay by use."""

_COUNT = re.compile(r"\d{1,18}")

_Bucket = tuple[int | None, int | None]
"""Limit and remaining."""


def observed_limits(headers: Mapping[str, str]) -> ObservedLimits | None:
    """The limits per minute that the headers state; None if they state none.

    Args:
        headers: An answer's headers, any case.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    requests, tokens = (
        _anthropic(lowered, what) or _openai(lowered, what) for what in ("requests", "tokens")
    )
    if requests is None and tokens is None:
        return None
    return ObservedLimits(*(requests or (None, None)), *(tokens or (None, None)))


def _anthropic(headers: Mapping[str, str], what: str) -> _Bucket | None:
    name = f"anthropic-ratelimit-{what}"
    return _stated(_count(headers.get(f"{name}-limit")), _count(headers.get(f"{name}-remaining")))


def _openai(headers: Mapping[str, str], what: str) -> _Bucket | None:
    for variant in _VARIANTS:
        limit, remaining = (
            _count(headers.get(f"x-ratelimit-{field}-{what}{variant}")) for field in ("limit", "remaining")
        )
        reset_s = duration_s(headers.get(f"x-ratelimit-reset-{what}{variant}", ""))
        if reset_s is not None and reset_s <= _MINUTE_S and not _is_a_days(limit, remaining, reset_s):
            return _stated(limit, remaining)
    return None


def _is_a_days(limit: int | None, remaining: int | None, reset_s: float) -> bool:
    """Whether the bucket fills up at the pace of a day's."""
    if limit is None or remaining is None or remaining >= limit:
        return False
    full_after_s = reset_s * limit / (limit - remaining)
    return abs(full_after_s - _DAY_S) <= _PACE_TOLERANCE * _DAY_S


def _stated(limit: int | None, remaining: int | None) -> _Bucket | None:
    return None if limit is None and remaining is None else (limit, remaining)


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and _COUNT.fullmatch(value.strip()) else None
