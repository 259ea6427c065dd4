"""What makes an answer a typed error: its status, its body, its headers, its dialect."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import (
    CandidateUnfit,
    CredentialRejected,
    FieldRefused,
    RateLimited,
    RequestRefused,
    UpstreamError,
    UpstreamUnavailable,
)
from shared.observed_limits import ObservedLimits
from worker.classify import classify
from worker.dialect import Dialect
from worker.error_answer import MAX_WORDS_CHARS, read_error
from worker.error_table import ERROR_TABLE

NOW_S = 1_763_700_000.0  # Fri, 21 Nov 2025 04:40:00 GMT


def classified(
    status: int, body: object = b"", *, dialect: Dialect = "generic", **headers: str
) -> UpstreamError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return classify(status, named, content, now_s=NOW_S, dialect=dialect)


STATUSES = [
    *(
        (status, UpstreamUnavailable)
        for status in (408, 409, 425, 498, 500, 502, 503, 504, 520, 521, 524, 529, 599)
    ),
    (429, RateLimited),
    *((status, CredentialRejected) for status in (401, 402, 403)),
    *((status, CandidateUnfit) for status in (301, 307, 404, 405, 410, 415, 418, 421, 451, 501)),
    *((status, RequestRefused) for status in (400, 413, 422)),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_status_decides_without_a_better_word(status: int, kind: type[UpstreamError]) -> None:
    """An empty body says nothing, so the status does; it is kept."""
    error = classified(status)
    assert (type(error), error.status) == (kind, status)


INSIDE_200 = [
    ({"error": "text"}, UpstreamUnavailable, "error_in_answer", 200),
    ({"error": {"message": "m"}}, UpstreamUnavailable, "error_in_answer", 200),
    ({"error": {"message": "m", "code": "server_error"}}, UpstreamUnavailable, "error_in_answer", 200),
    ({"error": {"message": "m", "code": 5}}, UpstreamUnavailable, "error_in_answer", 200),
    ({"error": {"message": "m", "code": 503.0}}, UpstreamUnavailable, "error_in_answer", 200),
    ({"error": {"message": "m", "code": 429}}, RateLimited, "rate_limited", 429),
    ({"error": {"message": "m", "code": "429"}}, RateLimited, "rate_limited", 429),
    ({"error": {"message": "m", "code": "rate_limit_exceeded"}}, RateLimited, "rate_limited", 429),
    ({"error": {"metadata": {"error_type": "rate_limit_exceeded"}}}, RateLimited, "rate_limited", 429),
    ([{"error": {"status": "RESOURCE_EXHAUSTED"}}], RateLimited, "rate_limited", 429),
    ({"error": {"code": 402}}, CredentialRejected, "out_of_credit", 402),
    ({"error": {"code": 503}}, UpstreamUnavailable, "server_error", 503),
    ({"error": {"code": 422}}, RequestRefused, "request_refused", 422),
    ({"error": "queue", "code": 503}, UpstreamUnavailable, "server_error", 503),
    ({"error": {"message": "insufficient_quota"}}, CredentialRejected, "out_of_credit", 200),
]


@pytest.mark.parametrize(("body", "kind", "code", "status"), INSIDE_200)
def test_error_inside_200_is_classed_by_its_body(body: object, kind: type, code: str, status: int) -> None:
    """A status or a known word in the body decides; otherwise another attempt is worth it."""
    error = classified(200, body)
    assert (type(error), error.code, error.status) == (kind, code, status)


@pytest.mark.parametrize(
    ("status", "is_billed"), [(504, True), (524, True), (408, True), (500, False), (429, False)]
)
def test_gateway_timeout_may_be_billed(status: int, is_billed: bool) -> None:
    """Behind a gateway that gave up, the model may have worked on."""
    assert classified(status).maybe_billed is is_billed


def test_wait_reaches_the_error() -> None:
    """Every class carries the wait that was stated."""
    errors = [classified(status, retry_after="5") for status in (429, 503, 402)]
    assert [error.retry_after_s for error in errors] == [5.0, 5.0, 5.0]


ECHOES = [
    {"error": {"code": 400, "metadata": {"echo": "context_length_exceeded"}}},
    {"error": {"code": 400}, "messages": [{"error": "insufficient_quota"}]},
]


@pytest.mark.parametrize("body", ECHOES)
def test_unknown_fields_decide_nothing(body: dict[str, Any]) -> None:
    """A prompt that an upstream echoes, in a field nobody reads, does not switch off a key."""
    assert type(classified(400, body, dialect="openrouter")) is RequestRefused


def test_value_cannot_pose_as_another_field() -> None:
    """Line breaks in a message do not make lines of their own."""
    body = {"error": {"message": "bad\ntype=insufficient_quota\u2028code=x", "code": "odd"}}
    words = read_error(400, {"retry-after": "1\nhtml="}, orjson.dumps(body), now_s=NOW_S).words
    names = [line.partition("=")[0] for line in words.splitlines()]
    assert names == ["header:retry-after", "message", "code", "wait"]


def test_flagged_prompt_decides_nothing() -> None:
    """OpenRouter repeats the flagged prompt; its words are not the provider's."""
    body = {"error": {"code": 403, "metadata": {"flagged_input": "billing_not_active", "reasons": ["x"]}}}
    assert classified(403, body, dialect="openrouter").code == "content_refused"


def test_words_are_bounded() -> None:
    """A huge error costs no more than a long one."""
    body = {"error": {"message": "x" * 60_000, "details": [{"message": "y" * 2000}] * 500}}
    assert len(read_error(400, {}, orjson.dumps(body), now_s=NOW_S).words) <= MAX_WORDS_CHARS


def test_retry_header_spares_what_it_cannot_know() -> None:
    """`x-should-retry` speaks of asking again: not of keys, nor of a field that will be left out."""
    refused = classified(400, {"error": '"m" does not support thinking'}, x_should_retry="false")
    assert isinstance(refused, FieldRefused)
    assert refused.fields == {"think", "reasoning_effort"}
    assert type(classified(401, x_should_retry="true")) is CredentialRejected
    assert type(classified(429, X_Should_Retry=" False ")) is CandidateUnfit
    assert type(classified(429, x_should_retry="true")) is RateLimited


def test_rate_limit_carries_observed_limits() -> None:
    """The headers of a 429 correct what is believed of the limits, as those of an answer do."""
    error = classified(
        429,
        x_ratelimit_limit_requests="60",
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests="1s",
    )
    assert isinstance(error, RateLimited)
    assert error.observed == ObservedLimits(60, 0, None, None)
    assert (error.dimension, error.limit) == ("requests", 60)


DIALECTS = st.sampled_from(sorted(ERROR_TABLE))
HEADER_NAMES = st.text() | st.sampled_from(
    ["retry-after", "x-ratelimit-reset-requests", "x-ratelimit-remaining-requests", "x-should-retry"]
)


@given(st.integers(100, 999), st.dictionaries(HEADER_NAMES, st.text()), st.binary(), DIALECTS)
def test_any_answer_gets_an_error(
    status: int, headers: dict[str, str], body: bytes, dialect: Dialect
) -> None:
    """No answer, however odd, breaks the reading of it."""
    error = classify(status, headers, body, now_s=NOW_S, dialect=dialect)
    assert isinstance(error, UpstreamError)
    assert error.retry_after_s is None or error.retry_after_s >= 0


NAMES = st.sampled_from(
    [
        "error", "code", "type", "status", "message", "detail", "details", "metadata", "raw", "headers",
        "retry_after", "resets_at", "availability", "violations", "http_status_code", "limit_source",
    ]
)  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["429", "insufficient_quota", "usage limit", "concurrency limit of 39"]),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)


@given(st.integers(200, 599), JSON, DIALECTS)
def test_any_json_gets_an_error(status: int, document: Any, dialect: Dialect) -> None:
    """No error object, however odd, breaks the reading of it."""
    try:
        body = orjson.dumps(document)
    except TypeError:  # a number over 64 bits
        body = str(document).encode()
    assert isinstance(classify(status, {}, body, now_s=NOW_S, dialect=dialect), UpstreamError)


@pytest.mark.parametrize("field", ["message", "code", "raw", "detail"])
def test_deep_error_is_still_an_error(field: str) -> None:
    """orjson reads 1,024 levels, which is deeper than it, or Python, writes."""
    deep = b"[" * 900 + b"]" * 900
    body = b'{"error": {"metadata": {"%s": %s}, "%s": %s}}' % (field.encode(), deep, field.encode(), deep)
    assert isinstance(classified(400, body), RequestRefused)
