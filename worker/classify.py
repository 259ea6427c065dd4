"""What an error answer means: read it, find its row in the error table, make the typed error. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from shared.errors import (
    CandidateUnfit,
    FieldRefused,
    RateLimited,
    RequestRefused,
    UpstreamError,
    UpstreamFacts,
    UpstreamUnavailable,
)
from worker.dialect import Dialect
from worker.error_answer import ErrorAnswer, read_error
from worker.error_table import Meaning, fitting_row
from worker.rate_headers import observed_limits
from worker.shortage import dimension_of, limit_of

_GATEWAY_TIMEOUTS = frozenset({408, 504, 524})
"""A proxy gave up waiting: the model may have worked on, so the call may be billed."""


def classify(
    status: int, headers: Mapping[str, str], body: bytes, *, now_s: float, dialect: Dialect
) -> UpstreamError:
    """The typed error for an answer that is not a success.

    Args:
        status: HTTP status. Below 300 the body carries an error all the same (`error` inside a 200).
        headers: The answer's headers, any case.
        body: The answer's body, any form; a cut one is fine.
        now_s: Unix seconds; moments that are stated, and ends of quota windows, are measured against it.
        dialect: Whose errors these are.
    """
    answer = read_error(status, headers, body, now_s=now_s)
    means = _obey_retry_header(fitting_row(dialect, answer).means, headers)
    facts = _facts(status, answer, means, now_s)
    if means.kind is RateLimited:
        return _rate_limited(answer, means, headers, facts)
    if means.kind is FieldRefused:
        return FieldRefused(answer.text, fields=means.fields, **facts)
    return means.kind(answer.text, **facts)


def _facts(status: int, answer: ErrorAnswer, means: Meaning, now_s: float) -> UpstreamFacts:
    retry_after_s = answer.retry_after_s
    if retry_after_s is None and means.window is not None:
        retry_after_s = means.window(now_s)
    return {
        "code": means.code,
        "status": status if answer.status < 300 else answer.status,
        "retry_after_s": retry_after_s,
        "wait_range_s": means.wait_range_s,
        "scope": means.scope,
        "maybe_billed": answer.status < 300 or answer.status in _GATEWAY_TIMEOUTS,
    }


def _rate_limited(
    answer: ErrorAnswer, means: Meaning, headers: Mapping[str, str], facts: UpstreamFacts
) -> RateLimited:
    observed = observed_limits(headers)
    dimension = means.dimension or dimension_of(answer.words, observed)
    limit = limit_of(dimension, answer.words, observed) if dimension else None
    return RateLimited(answer.text, dimension=dimension, limit=limit, observed=observed, **facts)


def _obey_retry_header(means: Meaning, headers: Mapping[str, str]) -> Meaning:
    """`x-should-retry` overrules the table in whether to ask this candidate again (provider-wire.md §0).

    It cannot know that a refused field is left out the next time, and it cures neither keys nor quotas.
    """
    wish = (
        next((value for name, value in headers.items() if name.lower() == "x-should-retry"), "")
        .strip()
        .lower()
    )
    if wish == "false" and means.kind in (UpstreamUnavailable, RateLimited):
        return replace(means, kind=CandidateUnfit, code="retry_refused", scope="job")
    if wish == "true" and means.kind in (CandidateUnfit, RequestRefused):
        return replace(means, kind=UpstreamUnavailable, code="retry_asked", scope="job")
    return means
