"""What an error answer means: its class, its stated wait, its text."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CredentialRejected, RateLimited, RequestRefused, UpstreamError, UpstreamUnavailable
from worker.classify import MAX_TEXT_CHARS, classify, clean_text, stated_wait_s

NOW_S = 1_763_700_000.0  # Fri, 21 Nov 2025 04:40:00 GMT


def classified(status: int, body: object = b"", **headers: str) -> UpstreamError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(status, named, body if isinstance(body, bytes) else orjson.dumps(body), now_s=NOW_S)


STATUSES = [
    *(
        (status, UpstreamUnavailable)
        for status in (408, 409, 425, 498, 500, 502, 503, 504, 520, 521, 524, 529, 599)
    ),
    (429, RateLimited),
    *((status, CredentialRejected) for status in (401, 402, 403)),
    *((status, RequestRefused) for status in (301, 307, 400, 404, 405, 410, 413, 415, 418, 421, 422, 451)),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_status_decides_the_class(status: int, kind: type[UpstreamError]) -> None:
    """Without a better word in the body the status decides; it is kept."""
    error = classified(status)
    assert (type(error), error.status) == (kind, status)


INSIDE_200 = [
    ({"error": "text"}, UpstreamUnavailable, "error_in_answer", 200),
    ({"error": {"message": "m"}}, UpstreamUnavailable, "error_in_answer", 200),
    ({"error": {"message": "m", "code": "server_error"}}, UpstreamUnavailable, "error_in_answer", 200),
    ({"error": {"message": "m", "code": 5}}, UpstreamUnavailable, "error_in_answer", 200),
    ({"error": {"message": "m", "code": 429}}, RateLimited, "rate_limited", 429),
    ({"error": {"message": "m", "code": "429"}}, RateLimited, "rate_limited", 429),
    ({"error": {"message": "m", "code": "rate_limit_exceeded"}}, RateLimited, "rate_limited", 429),
    ({"error": {"metadata": {"error_type": "rate_limit_exceeded"}}}, RateLimited, "rate_limited", 429),
    ([{"error": {"status": "RESOURCE_EXHAUSTED"}}], RateLimited, "rate_limited", 429),
    ({"error": {"code": 402}}, CredentialRejected, "credential_rejected", 402),
    ({"error": {"code": 503}}, UpstreamUnavailable, "server_error", 503),
    ({"error": {"code": 422}}, RequestRefused, "request_refused", 422),
]


@pytest.mark.parametrize(("body", "kind", "code", "status"), INSIDE_200)
def test_error_inside_200_is_classed_by_its_body(body: object, kind: type, code: str, status: int) -> None:
    """A status or a known word in the error object decides; otherwise another attempt is worth it."""
    error = classified(200, body)
    assert (type(error), error.code, error.status) == (kind, code, status)


@pytest.mark.parametrize(
    ("status", "is_billed"), [(504, True), (524, True), (408, True), (500, False), (429, False)]
)
def test_gateway_timeout_may_be_billed(status: int, is_billed: bool) -> None:
    """Behind a gateway that gave up, the model may have worked on."""
    assert classified(status).maybe_billed is is_billed


TEXTS = [
    ({"error": "plain"}, "plain"),
    ({"error": {"message": "in an object"}}, "in an object"),
    ([{"error": {"message": "in an array"}}], "in an array"),
    ({"message": "at the top"}, "at the top"),
    ({"detail": "from FastAPI"}, "from FastAPI"),
    ({"detail": [{"loc": ["a"]}]}, '"loc"'),
    ({"error": {"type": "overloaded_error"}}, "overloaded_error"),
    ({"error": {"message": {"odd": 1}}}, "odd"),
    (b"just text", "just text"),
    (b"", "no text"),
    (b"\xff\xfe", "HTTP 418: "),
    (b"<html><head><title> 502 Bad\nGateway </title>", "HTML page '502 Bad"),
    (b"<html>", "HTML page"),
    (
        {
            "error": {
                "message": "Provider returned error",
                "metadata": {"raw": "too long", "provider_name": "X"},
            }
        },
        "Provider returned error (X: too long)",
    ),
]


@pytest.mark.parametrize(("body", "text"), TEXTS)
def test_upstreams_words_are_kept(body: object, text: str) -> None:
    """Whatever form the error has, its own words reach the reader, after the status."""
    message = str(classified(418, body))
    assert message.startswith("HTTP 418: ")
    assert text in message


def test_text_is_one_short_line() -> None:
    """Control characters cannot break a log, and a page of text is cut."""
    assert clean_text("a\r\n\x1b[31mb\u2028c\x00") == "a [31mb c"
    assert len(clean_text("x" * 10_000)) == MAX_TEXT_CHARS


SECRETS = [
    "sk-abcdef123456",
    "sk-or-v1-0123abc",
    "Bearer abc.def_ghi",
    "tp-abcdef123",
    "xai-abcdef12",
    "sk-ab***cdef",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_keys_are_redacted_by_their_shape(secret: str) -> None:
    """Anything that looks like a key is hidden, wherever it stands."""
    cleaned = clean_text(f"Incorrect key: {secret}, try another")
    assert secret.split()[-1] not in cleaned
    assert "[redacted], try another" in cleaned


def wait(body: object = b"", **headers: str) -> float | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return stated_wait_s(named, body if isinstance(body, bytes) else orjson.dumps(body), NOW_S)


HEADER_WAITS: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"retry_after": "20"}, 20.0),
    ({"Retry_After": "1.5"}, 1.5),
    ({"RETRY_AFTER": " 3 "}, 3.0),
    ({"retry_after": "0"}, 0.0),
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


def test_wait_reaches_the_error() -> None:
    """Every class carries the wait that was stated."""
    errors = [classified(status, retry_after="5") for status in (429, 503, 402)]
    assert [error.retry_after_s for error in errors] == [5.0, 5.0, 5.0]


@given(st.integers(100, 599), st.dictionaries(st.text(), st.text()), st.binary())
def test_any_answer_gets_an_error(status: int, headers: dict[str, str], body: bytes) -> None:
    """No answer, however odd, breaks the reading of it."""
    assert isinstance(classify(status, headers, body, now_s=NOW_S), UpstreamError)


NAMES = st.sampled_from(["error", "code", "message", "retry_after"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)


@given(st.integers(200, 599), JSON)
def test_any_json_gets_an_error(status: int, document: Any) -> None:
    """No error object, however odd, breaks the reading of it."""
    assert isinstance(classified(status, document), UpstreamError)
