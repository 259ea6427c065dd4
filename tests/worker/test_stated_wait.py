"""The wait an error answer states: where it stands, and in what form."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from worker.stated_wait import stated_wait_s

NOW_S = 1_763_700_000.0  # Fri, 21 Nov 2025 04:40:00 GMT


def wait(body: object = b"", **headers: str) -> float | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return stated_wait_s(named, body if isinstance(body, bytes) else orjson.dumps(body), NOW_S)


HEADER_WAITS: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"retry_after": "20"}, 20.0),
    ({"Retry_After": "1.5"}, 1.5),
    ({"RETRY_AFTER": " 3 "}, 3.0),
    ({"retry_after": "0"}, 0.0),
    ({"retry_after": "0\x1f"}, 0.0),
    ({"retry_after": "\x1f7\x1f"}, 7.0),
    ({"retry_after_ms": "644", "retry_after": "9"}, 0.644),
    ({"retry_after": "Fri, 21 Nov 2025 04:41:00 GMT"}, 60.0),
    ({"retry_after": "Fri, 21 Nov 2025 04:00:00 GMT"}, 0.0),
    ({"retry_after": "soon"}, None),
    ({"retry_after": "-5"}, None),
    ({"retry_after": "nan"}, None),
    ({"retry_after": "1763700020"}, None),
    ({"retry_after": "9" * 400}, None),
    ({"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "6m0s"}, 360.0),
    ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "12ms"}, 0.012),
    ({"x_ratelimit_remaining_tokens": "5", "x_ratelimit_reset_tokens": "12ms"}, None),
    (
        {
            "x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "1s",
            "x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "1h2m3s",
        },
        3723.0,
    ),
    (
        {
            "anthropic_ratelimit_tokens_remaining": "0",
            "anthropic_ratelimit_tokens_reset": "2025-11-21T04:40:30Z",
        },
        30.0,
    ),
    ({"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "1763700045000"}, 45.0),
    ({"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "1763700045"}, 45.0),
    ({"X_RateLimit_Remaining": "0"}, None),
    ({"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "tomorrow"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "expected"), HEADER_WAITS)
def test_wait_is_read_from_headers(headers: dict[str, str], expected: float | None) -> None:
    """Milliseconds before seconds before dates; reset headers only of an empty bucket; nonsense is no wait."""
    assert wait(**headers) == (None if expected is None else pytest.approx(expected))


def message(text: str) -> dict[str, Any]:
    return {"error": {"message": text}}


BODY_WAITS: list[tuple[object, float | None]] = [
    ({"error": {"details": [{"@type": "…RetryInfo", "retryDelay": "36s"}]}}, 36.0),
    ({"error": {"details": [{"retryDelay": "0.5s"}]}}, 0.5),
    ({"error": {"availability": {"retry_after": 7}}}, 7.0),
    ({"error": {"metadata": {"resets_at": "2025-11-21T04:50:00.123456789Z"}}}, 600.123456),
    ({"metadata": {"resetsAt": "2025-11-21T05:40:00+01:00"}}, 0.0),
    (
        {"error": {"metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1763700009000"}}}},
        9.0,
    ),
    (message("please retry, ref 5d-aa"), None),
    ({"usage": {"resetInSec": 90}}, 90.0),
    (message("Please try again in 644ms."), 0.644),
    (message("try again in 9.8s"), 9.8),
    (message("max RPM: 3, please try again after 1 seconds"), 1.0),
    (message("Please retry in 36.429760048s."), 36.429760048),
    (message("Rate limit reached. Try again in 1m30s"), 90.0),
    (message("try again in 2 hours 5 minutes"), 7500.0),
    (message("wait 1 min"), 60.0),
    (message("Used 100 of 100 requests in 5 hours"), None),
    (message("try again after 10 messages"), None),
    (message("Server overloaded, please retry shortly (ref: 5d3s)"), None),
    ({"retry_after": None, "resets_at": True}, None),
    ({"retry_after": 1e300}, None),
    ({"retry_after": [5]}, None),
    (b"try again in 5s", 5.0),
    (b'{"broken', None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), BODY_WAITS)
def test_wait_is_read_from_the_body(body: object, expected: float | None) -> None:
    """Fields that are known to hold a wait, then the words of the message."""
    assert wait(body) == (None if expected is None else pytest.approx(expected, abs=1e-4))


def test_order_of_trust_is_kept() -> None:
    """Header, then body field, then text, then reset headers."""
    reset = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "4s"}
    texts = {"error": {"message": "try again in 3s"}}
    fields = {"error": {"message": "try again in 3s", "retry_after": 2}}
    assert [
        wait(fields, retry_after="1", **reset), wait(fields, **reset), wait(texts, **reset), wait(**reset)
    ] == [1.0, 2.0, 3.0, 4.0]  # fmt: skip


def test_unbelievable_wait_asks_the_next_place() -> None:
    """A wait of years is skipped, not obeyed and not fatal."""
    assert wait(message("try again in 3s"), retry_after="999999999") == 3.0
