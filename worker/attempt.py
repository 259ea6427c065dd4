"""One attempt: open → call → judge, for one grant. The result says how the grant is to be settled."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import orjson

from shared.chat import NO_USAGE
from shared.errors import ChatqError, OutOfSockets, QuotaExhausted, RateLimited, UpstreamError
from shared.job import EXPIRED
from shared.routing import Router
from shared.store.call_result import CallResult, Verdict
from shared.store.grants import Grant, Outcome, OutcomeKind, Release
from worker.events import attempt_event, error_class, outcome_beside_attempt, outcome_event
from worker.metrics import WorkerMetrics
from worker.upstream import Answer, Upstream
from worker.verdict import End, GiveBack, History, RetryPolicy, blame, judge
from worker.work import Work, open_work

log = logging.getLogger(__name__)

Settlement = Outcome | Release
"""What an attempt leaves to be settled."""

Stop = Literal["revoked", "stopped", "drained"]
"""Why a running call is dropped: ended by others; RQ's stop-job; given back at shutdown."""


class Expired(ChatqError):
    """The deadline passed before the job could be sent."""

    code = "expired"


class InternalError(ChatqError):
    """A bug of chatq's on this one job; its log has the traceback."""

    code = "internal_error"


@dataclass(slots=True)
class Slot:
    """A grant in the engine's hands, from claim until it is settled."""

    grant: Grant
    provider: str
    claimed_mono: float
    task: asyncio.Task[None] | None = None
    is_running: bool = False
    ended_mono: float = 0.0
    stop: Stop | None = None
    no_socket: str = ""
    """Why there was none for its call, if so."""

    def drop(self, stop: Stop) -> None:
        """End the attempt early. A task cancelled before its first step would never settle: it looks itself."""
        self.stop = stop
        if self.is_running and self.task is not None:
            self.task.cancel()

    def remaining_s(self) -> float | None:
        """Seconds to the job's deadline: Redis's clock at the claim, carried on by ours."""
        deadline_at = self.grant.deadline_at
        if deadline_at is None:
            return None
        return deadline_at - self.grant.claimed_at - (time.monotonic() - self.claimed_mono)


class AttemptRunner:
    """Makes attempts.

    Args:
        upstreams: By provider name.
        max_bytes: Largest payload accepted from Redis.
        metrics: Told of each call, if anybody wants to know.
    """

    def __init__(
        self,
        router: Router,
        upstreams: Mapping[str, Upstream],
        policy: RetryPolicy,
        *,
        max_bytes: int,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self._router = router
        self._upstreams = upstreams
        self._policy = policy
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._rng = random.Random()

    async def run(self, slot: Slot) -> Settlement:
        """Make the attempt this grant is for. Whatever happens, the grant gets settled."""
        slot.is_running = True
        try:
            return await self._attempt(slot)
        except Exception as exc:  # a bug of ours on one job must not take its neighbours along
            grant = slot.grant
            log.exception("job %s attempt %d: unexpected error", grant.job_id, grant.attempts)
            return _end(grant, None, "failed", InternalError(f"internal error: {type(exc).__name__}"))
        finally:
            slot.is_running = False

    async def _attempt(self, slot: Slot) -> Settlement:
        grant = slot.grant
        work: Work | None = None
        started = time.monotonic()
        try:
            if slot.stop:
                return _dropped(slot, None, 0.0)
            if (remaining_s := slot.remaining_s()) is not None and remaining_s <= 0:
                error = Expired(EXPIRED.message)
                return _end(grant, None, "expired", error, shown=_not_called(grant))
            work = open_work(grant, self._router, max_bytes=self._max_bytes)
            answer = await self._call(grant, work, remaining_s)
        except OutOfSockets as exc:
            slot.no_socket = str(exc)
            return self._judged(slot, work, exc, b"", _not_called(grant))
        except ChatqError as exc:
            return self._failed(slot, work, exc, self._measured(work, started, error=exc))
        except asyncio.CancelledError:
            return _dropped(slot, work, self._measured(work, started))
        return _completed(grant, work, answer, self._measured(work, started, answer=answer))

    def _measured(
        self,
        work: Work | None,
        started: float,
        *,
        answer: Answer | None = None,
        error: ChatqError | None = None,
    ) -> float:
        """How long the call took, in seconds."""
        duration_s = time.monotonic() - started
        if self._metrics is not None and work is not None:
            self._metrics.called(work.candidate.provider, duration_s, answer, error)
        return duration_s

    async def _call(self, grant: Grant, work: Work, remaining_s: float | None) -> Answer:
        upstream = self._upstreams[work.candidate.provider]
        timeout_s = upstream.provider.timeout_s
        if remaining_s is not None:
            timeout_s = min(timeout_s, remaining_s)
        return await upstream.call(
            work.request, work.candidate.model, headers=work.headers(grant), timeout_s=timeout_s
        )

    def _failed(self, slot: Slot, work: Work | None, error: ChatqError, duration_s: float) -> Settlement:
        grant = slot.grant
        event = attempt_event(grant, work, duration_s=duration_s, error=error) if work else b""
        shown = self._shown(grant, error) if work else _not_called(grant)
        return self._judged(slot, work, error, event, shown)

    def _judged(
        self, slot: Slot, work: Work | None, error: ChatqError, event: bytes, shown: bytes
    ) -> Settlement:
        grant = slot.grant
        verdict = judge(error, self._policy, _history(slot, work), self._rng)
        if isinstance(verdict, End):
            return _end(grant, work, verdict.kind, error, event, shown)
        return _give_back(grant, work, verdict, error, event, shown)

    def _shown(self, grant: Grant, error: ChatqError) -> bytes:
        """What a failed call tells the fleet."""
        found = blame(error, self._rng)
        verdict: Verdict = "refused"
        if found is not None:
            verdict = "limited" if found.kind == "rate" else "bad" if found.kind == "failure" else "refused"
        observed = error.observed if isinstance(error, RateLimited) else None
        is_billed = isinstance(error, UpstreamError) and error.maybe_billed
        # Some providers count the tokens of a request when it arrives, whatever becomes of it.
        is_drawn = is_billed or (isinstance(error, UpstreamError) and (error.status or 0) >= 500)
        return CallResult(
            grant.reserved,
            grant.claimed_at,
            verdict,
            prompt_tokens=None if is_drawn else 0,
            output_tokens=None if is_drawn else 0,
            observed=observed,
            blame=found,
            ended=error_class(error),
            is_billed=is_billed,
        ).encode()


def _not_called(grant: Grant) -> bytes:
    """No call was made: what was booked for it goes back."""
    return CallResult(grant.reserved, grant.claimed_at, "refused").encode()


def _history(slot: Slot, work: Work | None) -> History:
    grant = slot.grant
    hops = grant.hops
    others = len(work.candidates) - len(hops.visited) if work else 0
    return History(
        attempts=grant.attempts - grant.abandoned,
        max_attempts=grant.max_attempts,
        tries_here=grant.attempts - hops.attempts_before,
        others=max(0, others),
        rate_limit_waits=grant.rate_limit_waits,
        remaining_s=slot.remaining_s(),
    )


def _completed(grant: Grant, work: Work, answer: Answer, duration_s: float) -> Outcome:
    return Outcome(
        grant,
        "completed",
        orjson.dumps(answer.response),
        attempt_event(grant, work, duration_s=duration_s, answer=answer),
        outcome_beside_attempt(grant, work, "completed"),
        CallResult(
            grant.reserved,
            grant.claimed_at,
            "good",
            prompt_tokens=answer.usage["input_total"],
            output_tokens=answer.usage["output_total"],
            observed=answer.observed,
            ended="ok",
            cost_usd=answer.usage["cost_usd"],
            is_billed=True,
        ).encode(),
    )


def _give_back(
    grant: Grant, work: Work | None, verdict: GiveBack, error: ChatqError, event: bytes, shown: bytes
) -> Release:
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


def _end(
    grant: Grant,
    work: Work | None,
    kind: OutcomeKind,
    error: ChatqError,
    event: bytes = b"",
    shown: bytes = b"",
) -> Outcome:
    log.info("job %s attempt %d at %s: %s (%s)", grant.job_id, grant.attempts, grant.queue, kind, error.code)
    state = "cancelled" if kind == "stopped" else kind
    outcome = (
        outcome_beside_attempt(grant, work, state)
        if work and event
        else outcome_event(grant, work, state, error, NO_USAGE)
    )
    return Outcome(grant, kind, _error_json(error, work), event, outcome, shown)


def _dropped(slot: Slot, work: Work | None, duration_s: float) -> Settlement:
    """The call was cancelled by us; what was sent may be billed and stays on the books."""
    grant, stop = slot.grant, slot.stop
    error = UpstreamError(f"the call was dropped: {stop}", code=stop, maybe_billed=True)
    event = attempt_event(grant, work, duration_s=duration_s, error=error) if work else b""
    shown = _not_called(grant)
    if work is not None:
        shown = CallResult(
            grant.reserved, grant.claimed_at, "dropped", ended="dropped", is_billed=True
        ).encode()
    if stop == "drained":
        return Release(grant, "drain", 0, True, b"", event, shown)
    return _end(grant, work, "stopped", error, event, shown)


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
