"""Settlements: what an attempt leaves to be settled, made of how it ended, what was measured and what it cost."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

import orjson

from shared.errors import ChatqError, QuotaExhausted, UpstreamError
from shared.store.call_result import CallResult
from shared.store.grants import Grant, Outcome, OutcomeKind, Release, Settlement
from worker.costing import Cost, record
from worker.events import attempt_event, outcome_beside_attempt, outcome_event
from worker.upstream import Answer
from worker.verdict import GiveBack
from worker.work import Work

log = logging.getLogger(__name__)

Stop = Literal["revoked", "stopped", "drained"]
"""Why a running call is dropped: ended by others; RQ's stop-job; given back at shutdown."""


class Call(NamedTuple):
    """What is measured of a call, however it ended."""

    duration_s: float
    cost: Cost


def not_called(grant: Grant) -> bytes:
    """No call was made: what was booked for it goes back."""
    return CallResult(grant.reserved, grant.claimed_at, "refused").encode()


def completed(grant: Grant, work: Work, answer: Answer, call: Call) -> Outcome:
    """The job has its answer."""
    record(answer.response, call.cost)
    return Outcome(
        grant,
        "completed",
        orjson.dumps(answer.response),
        attempt_event(grant, work, duration_s=call.duration_s, answer=answer, cost=call.cost),
        outcome_beside_attempt(grant, work, "completed"),
        answered(grant, answer, call),
    )


def answered(grant: Grant, answer: Answer, call: Call) -> bytes:
    """What a call that brought an answer tells the fleet."""
    return CallResult(
        grant.reserved,
        grant.claimed_at,
        "good",
        prompt_tokens=answer.usage["input_total"],
        output_tokens=answer.usage["output_total"],
        observed=answer.observed,
        ended="ok",
        cost_usd=call.cost.usd,
        is_billed=True,
    ).encode()


def give_back(
    grant: Grant, work: Work | None, verdict: GiveBack, error: ChatqError, event: bytes, shown: bytes
) -> Release:
    """The job is given back: to try again, to wait, or to go on elsewhere."""
    log.info(
        "job %s attempt %d at %s: %s; %s, in %.1f s",
        grant.job_id, grant.attempts, grant.queue, error.code, verdict.reason, verdict.delay_s,
    )  # fmt: skip
    is_limited = verdict.reason == "rate_limited"
    late = QuotaExhausted(f"the limit lets go only after the deadline: {error}") if is_limited else error
    return Release(
        grant,
        verdict.reason,
        max(1, round(verdict.delay_s * 1000)),
        gives_attempt_back=verdict.gives_attempt_back,
        error=_error_json(error, work),
        attempt_event=event,
        shown=shown,
        late_error=_error_json(late, work) if is_limited else b"",
    )


def end(
    grant: Grant,
    work: Work | None,
    kind: OutcomeKind,
    error: ChatqError,
    event: bytes = b"",
    shown: bytes = b"",
) -> Outcome:
    """The job ends without an answer."""
    log.info("job %s attempt %d at %s: %s (%s)", grant.job_id, grant.attempts, grant.queue, kind, error.code)
    state = "cancelled" if kind == "stopped" else kind
    outcome = (
        outcome_beside_attempt(grant, work, state)
        if work and event
        else outcome_event(grant, work, state, error)
    )
    return Outcome(grant, kind, _error_json(error, work), event, outcome, shown)


def dropped(grant: Grant, stop: Stop | None, work: Work | None, call: Call) -> Settlement:
    """The call was cancelled by us; what was sent may be billed and stays on the books."""
    error = UpstreamError(f"the call was dropped: {stop}", code=stop, maybe_billed=True)
    event, shown = b"", not_called(grant)
    if work is not None:
        event = attempt_event(grant, work, duration_s=call.duration_s, error=error, cost=call.cost)
        shown = CallResult(
            grant.reserved,
            grant.claimed_at,
            "dropped",
            ended="dropped",
            cost_usd=call.cost.usd,
            is_billed=True,
        ).encode()
    if stop == "drained":
        return Release(grant, "drain", 0, True, b"", event, shown)
    return end(grant, work, "stopped", error, event, shown)


def _error_json(error: ChatqError, work: Work | None) -> bytes:
    """An error as the job keeps it (shared/job.py JobError)."""
    fields = {
        "code": error.code,
        "message": str(error)[:2000],
        "status": error.status if isinstance(error, UpstreamError) else None,
        "provider": work.candidate.provider if work else None,
        "upstream_model": work.candidate.model if work else None,
    }
    return orjson.dumps(fields)
