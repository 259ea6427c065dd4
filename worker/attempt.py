"""One attempt: open → call → judge, for one grant. The result says how the grant is to be settled."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from shared.catalogue import Catalogue
from shared.errors import (
    CandidateUnfit,
    ChatqError,
    OutOfSockets,
    RateLimited,
    StreamBroken,
    UpstreamError,
)
from shared.job import EXPIRED, Lane
from shared.routing import Router, Selection
from shared.store.call_result import CallResult, Verdict
from shared.store.grants import Grant, Release, Routed, Settlement
from worker.costing import NOTHING_TO_PAY, Cost, Costing
from worker.deltas import DeltaSink, DeltaWriter
from worker.events import attempt_event, error_class
from worker.metrics import WorkerMetrics
from worker.output_limit import limited
from worker.rating import Question, Rater
from worker.settlement import (
    Call,
    Stop,
    answered,
    completed,
    dropped,
    end,
    give_back,
    not_called,
)
from worker.upstream import Answer, Upstream
from worker.verdict import MISRATED, UNRATED, End, History, RetryPolicy, blame, judge
from worker.work import Work, open_work

log = logging.getLogger(__name__)


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
    deltas: DeltaSink | None = None
    """Takes the answer's pieces, if somebody wants them."""

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
        catalogue: What calls cost, and how long answers can be.
        rater: Knows where jobs go that want a rating.
        max_bytes: Largest payload accepted from Redis.
        deltas: Writes down the pieces of streamed answers.
        metrics: Told of each call, if anybody wants to know.
    """

    def __init__(
        self,
        router: Router,
        upstreams: Mapping[str, Upstream],
        policy: RetryPolicy,
        *,
        catalogue: Catalogue,
        rater: Rater,
        max_bytes: int,
        deltas: DeltaWriter,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self._router = router
        self._upstreams = upstreams
        self._policy = policy
        self._catalogue = catalogue
        self._costing = Costing(catalogue)
        self._rater = rater
        self._max_bytes = max_bytes
        self._deltas = deltas
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
            return end(grant, None, "failed", InternalError(f"internal error: {type(exc).__name__}"))
        finally:
            slot.is_running = False

    async def _attempt(self, slot: Slot) -> Settlement:
        grant = slot.grant
        work: Work | None = None
        started = time.monotonic()
        try:
            if slot.stop:
                return dropped(grant, slot.stop, None, Call(0.0, NOTHING_TO_PAY))
            if (remaining_s := slot.remaining_s()) is not None and remaining_s <= 0:
                error = Expired(EXPIRED.message)
                return end(grant, None, "expired", error, shown=not_called(grant))
            work = open_work(grant, self._router, max_bytes=self._max_bytes)
            if work.selection is not None:
                return await self._rate(slot, work, work.selection, started)
            if work.is_streamed:
                slot.deltas = self._deltas.open(grant)
            answer = await self._call(grant, work, remaining_s, slot.deltas)
        except OutOfSockets as exc:
            slot.no_socket = str(exc)
            return self._judged(slot, work, exc, b"", not_called(grant))
        except ChatqError as exc:
            return self._failed(slot, work, exc, self._measured(grant, work, started, error=exc))
        except asyncio.CancelledError:
            return self._dropped(slot, work, self._measured(grant, work, started))
        call = self._measured(grant, work, started, answer=answer)
        if slot.deltas is not None:
            slot.is_running = False  # from here on it is settled: nothing is dropped any more
            await slot.deltas.finish(answer.response)
        return completed(grant, work, answer, call)

    async def _rate(self, slot: Slot, work: Work, selection: Selection, started: float) -> Settlement:
        """Have the job rated, unless it is known how, and send it on to its target."""
        grant = slot.grant
        question = self._rater.question(work, selection, Lane(grant.queue.rpartition(".")[2]))
        rating = await self._rater.known(question)
        if rating is not None:
            return await self._send_on(slot, question, rating, b"", not_called(grant))
        remaining_s = slot.remaining_s()
        least_s = selection.timeout_s if remaining_s is None else min(selection.timeout_s, remaining_s)
        answer = await self._call(grant, question.call, least_s)
        call = self._measured(grant, question.call, started, answer=answer)
        event = attempt_event(grant, work, duration_s=call.duration_s, answer=answer, cost=call.cost)
        shown, rating = answered(grant, answer, call), question.read(answer)
        if rating is None:
            error = CandidateUnfit(
                "the selector's answer was cut off before it said a number: does it think?"
            )
            return give_back(grant, work, UNRATED, error, event, shown)
        return await self._send_on(slot, question, rating, event, shown)

    async def _send_on(
        self, slot: Slot, question: Question, rating: int, event: bytes, shown: bytes
    ) -> Settlement:
        """Send a rated job on. The rating is paid for by now: whatever happens, it is on the books."""
        grant, work = slot.grant, question.work
        try:
            if event:
                await self._rater.keep(question, rating)
            await self._rater.prepare(question, rating)
        except asyncio.CancelledError:
            if slot.stop != "drained":  # a worker that stops sends it on by what it knows
                error = UpstreamError(f"the job was dropped: {slot.stop}", code=slot.stop)
                return end(grant, work, "stopped", error, event, shown)
        try:
            return Routed(grant, *self._rater.send_on(grant, question, rating), event, shown)
        except ChatqError as exc:
            return give_back(grant, work, MISRATED, exc, event, shown)
        except Exception as exc:  # a bug of ours: the job can do without a rating
            log.exception("job %s: its rating %d leads nowhere", grant.job_id, rating)
            bug = InternalError(f"internal error: {type(exc).__name__}")
            return give_back(grant, work, MISRATED, bug, event, shown)

    def _measured(
        self,
        grant: Grant,
        work: Work | None,
        started: float,
        *,
        answer: Answer | None = None,
        error: ChatqError | None = None,
    ) -> Call:
        """How long the call took, and what it cost."""
        duration_s = time.monotonic() - started
        if work is None:
            return Call(duration_s, NOTHING_TO_PAY)
        if answer is not None:
            cost = self._costing.answered(work.request, work.candidate, answer, at=grant.claimed_at)
        else:
            cost = self._costing.failed(work.candidate, error, at=grant.claimed_at)
        if self._metrics is not None:
            self._metrics.called(work.candidate.provider, duration_s, answer, error, cost)
        return Call(duration_s, cost)

    async def _call(
        self, grant: Grant, work: Work, remaining_s: float | None, deltas: DeltaSink | None = None
    ) -> Answer:
        upstream = self._upstreams[work.candidate.provider]
        timeout_s = upstream.provider.timeout_s
        if remaining_s is not None:
            timeout_s = min(timeout_s, remaining_s)
        provider, model = work.candidate.provider, work.candidate.model
        request, note = limited(work.request, self._catalogue.find(provider, model))
        headers = work.headers(grant)
        if deltas is None:
            answer = await upstream.call(request, model, headers=headers, timeout_s=timeout_s)
        else:
            answer = await upstream.call(
                request, model, headers=headers, timeout_s=timeout_s, on_delta=deltas.put
            )
        if note is not None:
            answer.response["chatq"]["notes"] = [note]
        return answer

    def _failed(self, slot: Slot, work: Work | None, error: ChatqError, call: Call) -> Settlement:
        grant = slot.grant
        event = b""
        if work:
            event = attempt_event(grant, work, duration_s=call.duration_s, error=error, cost=call.cost)
        shown = self._shown(grant, error, call.cost) if work else not_called(grant)
        return self._judged(slot, work, error, event, shown)

    def _judged(
        self, slot: Slot, work: Work | None, error: ChatqError, event: bytes, shown: bytes
    ) -> Settlement:
        grant = slot.grant
        if slot.deltas is not None and slot.deltas.close():
            return end(grant, work, "failed", _broken(error), event, shown)
        verdict = judge(error, self._policy, _history(slot, work), self._rng)
        if isinstance(verdict, End):
            return end(grant, work, verdict.kind, error, event, shown)
        return give_back(grant, work, verdict, error, event, shown)

    def _dropped(self, slot: Slot, work: Work | None, call: Call) -> Settlement:
        settlement = dropped(slot.grant, slot.stop, work, call)
        has_begun = slot.deltas is not None and slot.deltas.close()
        if has_begun and isinstance(settlement, Release):  # nobody could go on with it
            error = _broken(UpstreamError("its worker was stopped", maybe_billed=True))
            return end(slot.grant, work, "failed", error, settlement.attempt_event, settlement.shown)
        return settlement

    def _shown(self, grant: Grant, error: ChatqError, cost: Cost) -> bytes:
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
            cost_usd=cost.usd,
            is_billed=is_billed,
        ).encode()


def _broken(error: ChatqError) -> StreamBroken:
    """The end of a job of whose answer a part is out."""
    status = error.status if isinstance(error, UpstreamError) else None
    return StreamBroken(f"the answer broke off: {error}", status=status, maybe_billed=True)


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
        is_rating=work is not None and work.selection is not None,
    )
