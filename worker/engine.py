"""The engine: the loop that reads like the chain claim → call → judge → settle.

One engine a process, on one event loop. It claims in batches, only what it has room for; sleeps until a signal
says that a queue stopped being empty; and keeps a slot busy until the store has taken its outcome.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from shared.background import end_tasks
from shared.chat import NO_USAGE
from shared.errors import ChatqError, StoreError, UpstreamError
from shared.routing import Router
from shared.store.grants import Grant, GrantStore, Outcome, OutcomeKind, Release
from worker.events import attempt_event, outcome_event
from worker.settle import Settler
from worker.upstream import Upstream
from worker.verdict import RetryPolicy, TryAgain, judge
from worker.work import Work, open_work

log = logging.getLogger(__name__)

GATHER_S = 0.002
"""While jobs wait, how long freed slots gather before the next claim: one round trip then serves several."""

ENDED = frozenset({"finished", "failed", "canceled", "stopped", ""})
"""RQ statuses (or a hash that is gone) that make a call pointless."""

Stop = Literal["revoked", "stopped", "drained"]
"""Why a running call is dropped: ended by others; RQ's stop-job; given back at shutdown."""


@dataclass(slots=True)
class Running:
    """One grant in a slot."""

    grant: Grant
    provider: str
    claimed_mono: float
    task: asyncio.Task[None] | None = None
    stop: Stop | None = None

    def remaining_s(self) -> float | None:
        """Seconds to the job's deadline, on Redis's clock carried on by ours since the claim."""
        deadline_at = self.grant.deadline_at
        if deadline_at is None:
            return None
        return deadline_at - self.grant.claimed_at - (time.monotonic() - self.claimed_mono)


class Engine:
    """Runs jobs.

    Args:
        upstreams: By provider name; these are the providers served.
        concurrency: Slots: jobs held at once, from claim until the store has their outcome.
        claim_batch: Most jobs a claim.
        poll_s: Longest sleep without looking, in case a signal was lost.
        max_bytes: Largest payload accepted from Redis.
        on_delay: Told when a job was given back for so many seconds (the promoter wants to know).
    """

    def __init__(
        self,
        store: GrantStore,
        router: Router,
        upstreams: Mapping[str, Upstream],
        policy: RetryPolicy,
        *,
        concurrency: int,
        claim_batch: int,
        poll_s: float,
        flush_s: float,
        flush_batch: int,
        max_bytes: int,
        on_delay: Callable[[float], None],
    ) -> None:
        self._store = store
        self._router = router
        self._upstreams = upstreams
        self._policy = policy
        self._concurrency = concurrency
        self._claim_batch = claim_batch
        self._poll_s = poll_s
        self._max_bytes = max_bytes
        self._on_delay = on_delay
        self._running: dict[str, Running] = {}
        self._in_flight = dict.fromkeys(upstreams, 0)
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._is_draining = False
        self._rng = random.Random()
        self._settler = Settler(store, flush_s=flush_s, flush_batch=flush_batch, on_settled=self._settled)

    # -- seen from outside ------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Grants held."""
        return len(self._running)

    @property
    def is_draining(self) -> bool:
        """Whether claiming has stopped for good."""
        return self._is_draining

    def members(self) -> list[str]:
        """The grants to renew; safe to call from another thread."""
        return list(self._running)

    def wake(self) -> None:
        """Something may be waiting: look now."""
        self._wake.set()

    def lost(self, members: Sequence[tuple[str, str]]) -> None:
        """Leases that are no longer ours, with the job's RQ status.

        An ended job's call is dropped. One that was taken back goes on: its answer is still welcome, if it is
        the first.
        """
        for member, status in members:
            if status in ENDED:
                self._drop(member, "revoked")

    def stop_job(self, job_id: str) -> None:
        """Drop a job's call and end the job, unless it has ended already (RQ's stop-job)."""
        for member, running in list(self._running.items()):
            if running.grant.job_id == job_id:
                self._drop(member, "stopped")

    def drain(self) -> None:
        """Stop claiming; what runs goes on."""
        self._is_draining = True
        self._wake.set()
        self._room.set()

    def give_back_all(self) -> None:
        """Drop what still runs and put the jobs back on their queues, no attempt spent."""
        for member in self.members():
            self._drop(member, "drained")

    async def run(self, *, is_finished: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Work until drained.

        Args:
            is_finished: For a burst: asked when nothing is found and nothing runs; True ends the run.
        """
        settling = asyncio.create_task(self._settler.run(), name="settler")
        try:
            while not self._is_draining:
                if not await self._claim_once():
                    if is_finished and not self._running and await is_finished():
                        return
                    await _first(self._wake, self._poll_s)
            while self._running:
                self._room.clear()
                await self._room.wait()
        finally:
            await end_tasks(settling)

    # -- claim ------------------------------------------------------------------------------------

    async def _claim_once(self) -> bool:
        """One claim, when there is room. Returns whether to look again at once."""
        while (free := self._concurrency - len(self._running)) <= 0:
            self._room.clear()
            await self._room.wait()
            if self._is_draining:
                return False
            await asyncio.sleep(GATHER_S)
        self._wake.clear()
        claimed = await self._claim(min(free, self._claim_batch))
        if claimed is None:
            return False
        left, grants = claimed
        now = time.monotonic()
        for grant in grants:
            self._start(grant, now)
        if left > 0 and len(grants) < self._claim_batch and len(grants) == free:
            await asyncio.sleep(GATHER_S)
        return left > 0

    async def _claim(self, want: int) -> tuple[int, list[Grant]] | None:
        """Claim, sending the same claim again until Redis answers: a lost reply must not lose its grants."""
        nonce = os.urandom(6).hex()
        while not self._is_draining:
            try:
                claimed = await self._store.claim(nonce=nonce, want=want, in_flight=self._in_flight)
            except StoreError as exc:
                log.warning("claiming waits for Redis: %s", exc)
                await asyncio.sleep(self._poll_s)
            else:
                return claimed.left, claimed.grants
        return None

    def _start(self, grant: Grant, now: float) -> None:
        running = Running(grant, grant.queue.rpartition(".")[0], now)
        self._running[grant.member] = running
        self._in_flight[running.provider] += 1
        running.task = asyncio.create_task(self._run_job(running))

    # -- one job ----------------------------------------------------------------------------------

    async def _run_job(self, running: Running) -> None:
        """Claim → open → call → judge → settle, for one grant."""
        grant = running.grant
        work: Work | None = None
        started = time.monotonic()
        try:
            remaining_s = running.remaining_s()
            if remaining_s is not None and remaining_s <= 0:
                self._end(
                    grant, None, "expired", _Expired("the deadline passed before the job was sent"), b""
                )
                return
            work = open_work(grant, self._router, max_bytes=self._max_bytes)
            upstream = self._upstreams[work.candidate.provider]
            timeout_s = upstream.provider.timeout_s
            if remaining_s is not None:
                timeout_s = min(timeout_s, remaining_s)
            answer = await upstream.call(
                work.request, work.candidate.model, headers=work.headers(grant), timeout_s=timeout_s
            )
        except ChatqError as exc:
            self._failed(running, work, exc, time.monotonic() - started)
        except asyncio.CancelledError:
            self._dropped(running, work, time.monotonic() - started)
        except Exception as exc:  # a bug of ours on one job must not take its neighbours along
            log.exception("job %s attempt %d: unexpected error", grant.job_id, grant.attempts)
            self._failed(
                running, work, _Internal(f"internal error: {type(exc).__name__}"), time.monotonic() - started
            )
        else:
            duration_s = time.monotonic() - started
            self._settler.finish(
                Outcome(
                    grant,
                    "completed",
                    orjson.dumps(answer.response),
                    attempt_event(grant, work, duration_s=duration_s, usage=answer.usage),
                    outcome_event(grant, work, "completed", None, answer.usage),
                )
            )

    def _failed(self, running: Running, work: Work | None, error: ChatqError, duration_s: float) -> None:
        grant = running.grant
        event = attempt_event(grant, work, duration_s=duration_s, error=error) if work else b""
        verdict = judge(
            error,
            self._policy,
            attempts=grant.attempts,
            max_attempts=grant.max_attempts,
            rate_limit_waits=grant.rate_limit_waits,
            remaining_s=running.remaining_s(),
            rng=self._rng,
        )
        if isinstance(verdict, TryAgain):
            self._release(grant, work, verdict, error, event)
        else:
            self._end(grant, work, verdict.kind, error, event)

    def _release(
        self, grant: Grant, work: Work | None, verdict: TryAgain, error: ChatqError, event: bytes
    ) -> None:
        log.info(
            "job %s attempt %d at %s: %s; again in %.1f s",
            grant.job_id, grant.attempts, grant.queue, error.code, verdict.delay_s,
        )  # fmt: skip
        is_rate_limit = verdict.reason == "rate_limited"
        delay_ms = max(1, round(verdict.delay_s * 1000))
        self._settler.give_back(
            Release(grant, verdict.reason, delay_ms, is_rate_limit, error_json(error, work), event)
        )
        self._on_delay(verdict.delay_s)

    def _end(
        self, grant: Grant, work: Work | None, kind: OutcomeKind, error: ChatqError, event: bytes
    ) -> None:
        log.info(
            "job %s attempt %d at %s: %s (%s)", grant.job_id, grant.attempts, grant.queue, kind, error.code
        )
        state = "cancelled" if kind == "stopped" else kind
        outcome = outcome_event(grant, work, state, error.code, NO_USAGE)
        self._settler.finish(Outcome(grant, kind, error_json(error, work), event, outcome))

    def _dropped(self, running: Running, work: Work | None, duration_s: float) -> None:
        """The call was cancelled by us; what was sent may be billed and stays on the books."""
        grant, stop = running.grant, running.stop or "drained"
        error = UpstreamError(f"the call was dropped: {stop}", code=stop, maybe_billed=True)
        event = attempt_event(grant, work, duration_s=duration_s, error=error) if work else b""
        if stop == "drained":
            self._settler.give_back(Release(grant, "drain", 0, True, b"", event))
        else:
            self._end(grant, work, "stopped", error, event)

    def _drop(self, member: str, stop: Stop) -> None:
        running = self._running.get(member)
        if (
            running is not None
            and running.stop is None
            and running.task is not None
            and not running.task.done()
        ):
            running.stop = stop
            running.task.cancel()

    def _settled(self, grant: Grant, code: str) -> None:
        running = self._running.pop(grant.member)
        self._in_flight[running.provider] -= 1
        self._room.set()
        if code not in ("ok", "same"):
            log.info("job %s: its outcome was %s", grant.job_id, code)


class _Expired(ChatqError):
    code = "expired"


class _Internal(ChatqError):
    code = "internal_error"


def error_json(error: ChatqError, work: Work | None) -> bytes:
    """An error as the job keeps it (shared/job.py JobError)."""
    fields = {
        "code": error.code,
        "message": str(error)[:2000],
        "status": error.status if isinstance(error, UpstreamError) else None,
        "provider": work.candidate.provider if work else None,
        "upstream_model": work.candidate.model if work else None,
    }
    return orjson.dumps(fields)


async def _first(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, at most so long."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
