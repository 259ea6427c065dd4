"""Limits per minute, as answers state them in headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.observed_limits import ObservedLimits
from worker.rate_headers import observed_limits


def openai(what: str, limit: str, remaining: str, reset: str, variant: str = "") -> dict[str, str]:
    return {
        f"X-RateLimit-Limit-{what}{variant}": limit,
        f"x-ratelimit-remaining-{what}{variant}": remaining,
        f"x-ratelimit-reset-{what}{variant}": reset,
    }


def anthropic(what: str, limit: str, remaining: str) -> dict[str, str]:
    return {
        f"anthropic-ratelimit-{what}-limit": limit,
        f"Anthropic-RateLimit-{what}-remaining": remaining,
        f"anthropic-ratelimit-{what}-reset": "2026-11-21T09:00:00Z",
    }


HEADERS: list[tuple[dict[str, str], ObservedLimits | None]] = [
    ({}, None),
    ({"content-type": "application/json"}, None),
    (openai("requests", "60", "59", "1s"), ObservedLimits(60, 59)),
    (openai("tokens", "90000", "89000", "666ms"), ObservedLimits(None, None, 90000, 89000)),
    (
        {**openai("requests", "500", "0", "1m0s"), **openai("tokens", "9", "9", "0s")},
        ObservedLimits(500, 0, 9, 9),
    ),
    (openai("tokens", "90000", "1", "59.9s", "_usage_based"), ObservedLimits(None, None, 90000, 1)),
    ({**anthropic("requests", "50", "49"), **anthropic("tokens", "40000", "0")}, ObservedLimits(50, 49, 40000, 0)),
    (anthropic("input-tokens", "40000", "1"), None),
    (openai("requests", "200", "199", "7m12s"), None),  # a day: 432 s x 200
    (openai("requests", "10000", "9999", "8.64s"), None),  # a day: 8.64 s x 10,000
    (openai("requests", "14400", "14399", "6s"), None),  # a day: 6 s x 14,400
    (openai("requests", "100", "99", "30s"), ObservedLimits(100, 99)),  # a fixed window of a minute
    ({"x-ratelimit-limit-requests": "60"}, None),
    ({"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": "2s"}, ObservedLimits(60, None)),
    (openai("requests", "many", "-3", "1s"), None),
    (openai("requests", "60", "59", "soon"), None),
    ({"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1763700045000"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "observed"), HEADERS)
def test_limits_per_minute_are_observed(headers: dict[str, str], observed: ObservedLimits | None) -> None:
    """OpenAI's and Anthropic's names in any case; limits per day and nonsense are none."""
    assert observed_limits(headers) == observed


@given(st.text(), st.text(), st.text())
def test_any_header_is_read(limit: str, remaining: str, reset: str) -> None:
    """No value, however odd, breaks the reading."""
    observed = observed_limits(openai("requests", limit, remaining, reset))
    assert observed is None or isinstance(observed, ObservedLimits)
