"""Telemetry: one event per attempt and one per outcome. Never a prompt, an answer or a key.

Units are in the names; `null` means that nobody said (an unknown cost is never 0). The readers are in
`shared/store/telemetry.py`; what a script ends by itself has `type`, `job`, `queue`, `state` and `error` only,
and an outcome in one entry with the call that brought it has only what that call does not say.
"""

from __future__ import annotations

from functools import lru_cache

import orjson

from shared.errors import (
    CandidateUnfit,
    ChatqError,
    CredentialRejected,
    FieldRefused,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    StreamBroken,
    UpstreamError,
    UpstreamUnavailable,
)
from shared.store.grants import Grant
from shared.usage import NO_USAGE
from worker.costing import NOTHING_TO_PAY, Cost
from worker.upstream import Answer
from worker.work import Work

ERROR_CLASSES: dict[type[ChatqError], str] = {
    UpstreamUnavailable: "retry",
    FieldRefused: "retry",
    RateLimited: "limited",
    QuotaExhausted: "quota",
    CredentialRejected: "credentials",
    CandidateUnfit: "unfit",
    RequestRefused: "refused",
    StreamBroken: "retry",
    UpstreamError: "dropped",
}
"""Who has to act on a failed call, in a word; `dropped` = we ended it ourselves. All others are `internal`."""


def error_class(error: ChatqError) -> str:
    """The class of an error (`ERROR_CLASSES`)."""
    return ERROR_CLASSES.get(type(error), "internal")


def attempt_event(
    grant: Grant,
    work: Work,
    *,
    duration_s: float,
    answer: Answer | None = None,
    error: ChatqError | None = None,
    cost: Cost = NOTHING_TO_PAY,
) -> bytes:
    """What one call did: where it went, how long it took, what it cost, why it failed.

    `candidate` is the place of the model used in the job's order of preference, from 0; `queue_wait_s` is the time
    from when the job was last ready until it was claimed. A rating has the group it is for as `rates_for`.
    """
    upstream = error if isinstance(error, UpstreamError) else None
    usage = answer.usage if answer else (upstream.usage if upstream else None) or NO_USAGE
    measured = orjson.dumps(
        {
            "type": "attempt",
            "job": grant.job_id,
            "token": grant.token,
            "candidate": grant.hops.current,
            "attempt": grant.attempts,
            "at": _rounded(grant.claimed_at),
            "queue_wait_s": _queue_wait_s(grant),
            "duration_s": _rounded(duration_s),
            "ttfb_s": _rounded(answer.ttfb_s) if answer else None,
            "error": error.code if error else None,
            "error_class": error_class(error) if error else None,
            "status": upstream.status if upstream else None if error else 200,
            "maybe_billed": upstream.maybe_billed if upstream else error is None,
            **usage,
            "cost_usd": cost.usd,
            "cost_source": cost.basis,
        }
    )
    candidate = work.candidate
    rates_for = work.selection.group_id if work.selection else None
    whose = _whose(
        grant.queue,
        work.client,
        work.source,
        work.requested_model,
        candidate.provider,
        candidate.model,
        work.batch,
        rates_for,
    )
    return b"%b,%b}" % (measured[:-1], whose)


@lru_cache(maxsize=1024)
def _whose(
    queue: str,
    client: str | None,
    source: str | None,
    requested_model: str,
    provider: str,
    model: str,
    batch: str | None,
    rates_for: str | None,
) -> bytes:
    """What is the same in the attempts of jobs of a kind: JSON fields without the braces around them."""
    fields = {
        "queue": queue,
        "lane": queue.rpartition(".")[2],
        "client": client,
        "source": source,
        "requested_model": requested_model,
        "provider": provider,
        "model": model,
    }
    fields |= {k: v for k, v in (("batch", batch), ("rates_for", rates_for)) if v is not None}
    return orjson.dumps(fields)[1:-1]


def outcome_event(grant: Grant, work: Work | None, state: str, error: ChatqError | None) -> bytes:
    """How a job ended that no call brought there, so that there are no tokens and no cost.

    `tried` are the candidates it has been to; the queue wait is that of the last claim.
    """
    candidate = work.candidate if work else None
    return orjson.dumps(
        {
            "type": "outcome",
            "job": grant.job_id,
            "queue": grant.queue,
            "lane": grant.queue.rpartition(".")[2],
            "client": work.client if work else None,
            "source": work.source if work else None,
            "requested_model": work.requested_model if work else None,
            "provider": candidate.provider if candidate else None,
            "model": candidate.model if candidate else None,
            "tried": _tried(grant, work) if work else [],
            "state": state,
            "error": error.code if error else None,
            "error_class": error_class(error) if error else None,
            "attempts": grant.attempts,
            "queue_wait_s": _queue_wait_s(grant),
            **NO_USAGE,
            "cost_source": None,
        }
    )


def outcome_beside_attempt(grant: Grant, work: Work, state: str) -> bytes:
    """How a job ended, in one entry with the event of its last call: the rest stands there."""
    return orjson.dumps(
        {
            "type": "outcome",
            "job": grant.job_id,
            "state": state,
            "attempts": grant.attempts,
            "tried": _tried(grant, work),
        }
    )


def _rounded(seconds: float) -> float:
    """To microseconds; `round` takes three times as long."""
    return int(seconds * 1e6 + 0.5) / 1e6


def _queue_wait_s(grant: Grant) -> float | None:
    return _rounded(grant.claimed_at - grant.enqueued_at) if grant.enqueued_at else None


def _tried(grant: Grant, work: Work) -> list[str]:
    visited = grant.hops.visited
    return [f"{c.provider}/{c.model}" for index, c in enumerate(work.candidates) if index in visited]
