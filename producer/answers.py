"""Answers: waiting for single jobs, each told as soon as it ends, with what became of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from producer.enqueuer import Enqueuer
from producer.grouped import Grouped
from producer.submission import Submission
from producer.wait import Wait
from producer.waiter import Waiter
from shared.errors import JobRejected, StoreUnavailable, WaitTimeout
from shared.job import Job
from shared.store import keys
from shared.store.connect import Store
from shared.store.jobs import Accepted, JobStore
from shared.store.reading import Told

TOGETHER = 100
"""Jobs that are registered in one call for many callers."""

REACH_S = 1.0
"""Time that a wait has to reach Redis, even when it may not last that long: the first one subscribes."""


class Answers:
    """Waits for single jobs.

    Args:
        get: Reads a job as it is now.
    """

    def __init__(
        self, store: Store, jobs: JobStore, enqueuer: Enqueuer, *, get: Callable[[str], Awaitable[Job]]
    ) -> None:
        self._waiter = Waiter(store, jobs, keys.answers_channel(secrets.token_hex(8)))
        self._enqueuer = enqueuer
        self._get = get
        self._reach = Grouped[str, bool](self._reach_many, most=TOGETHER)

    @property
    def channel(self) -> str:
        """Where Redis tells of the jobs."""
        return self._waiter.channel

    async def stop(self) -> None:
        """Unsubscribe; who still waits is told nothing more."""
        await self._waiter.stop()
        await self._reach.stop()

    def is_expected(self, job_id: str) -> bool:
        """Whether anybody in this process waits for the job."""
        return self._waiter.is_expected(job_id)

    def expect(self, job_id: str) -> Wait:
        """A wait for a job that is in the store already."""
        return Wait(job_id, self._waiter)

    async def hold_many(self, submissions: Sequence[Submission]) -> list[Wait | JobRejected]:
        """Accept jobs, and register a wait for each in the same step.

        Returns:
            A wait or the rejection for each submission, in order; one not finished stays until its job ends.

        Raises:
            StoreFull, StoreUnavailable: As `Producer.submit`.
        """
        await self._start(REACH_S)
        waits: list[Wait] = []

        def expect(job_ids: Sequence[str]) -> None:
            # Before the enqueue: a job may end before its reply is here.
            waits.extend(Wait(job_id, self._waiter) for job_id in job_ids)

        try:
            results = await self._enqueuer.enqueue(submissions, channel=self._waiter.channel, expect=expect)
        except BaseException:
            for wait in waits:
                wait.give_up()
            raise
        self._waiter.enqueued(wait.job_id for wait in waits)
        rest = iter(waits)
        return [
            result if isinstance(result, JobRejected) and code is None else _held(next(rest), result, code)
            for result, code in results
        ]

    async def finish(self, wait: Wait, *, timeout_s: float | None = None) -> Told:
        """Wait until the job has ended (see `Producer.wait`)."""
        give_up_at = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        while True:
            ended = None
            with wait:
                if wait.is_registered or await self._register(wait.job_id, timeout_s):
                    try:
                        async with asyncio.timeout_at(give_up_at):
                            ended = await wait.until_told()
                    except TimeoutError:
                        text = f"job {wait.job_id} has not ended within {timeout_s:g} s; it goes on"
                        raise WaitTimeout(text) from None
            ended = ended or Told.of(await self._get(wait.job_id))
            if ended.state.is_terminal:
                return ended
            wait = self.expect(ended.id)  # RQ's own requeue has set it back, or a stranger told us

    async def _register(self, job_id: str, timeout_s: float | None) -> bool:
        """Subscribe and register for one job, in bounded time; returns whether the store knows it."""
        limit_s = None if timeout_s is None else max(timeout_s, REACH_S)
        await self._start(limit_s)
        async with _reaching(limit_s):
            return await self._reach(job_id)

    async def _start(self, limit_s: float | None) -> None:
        if not self._waiter.has_started:
            async with _reaching(limit_s):
                await self._waiter.start()

    async def _reach_many(self, job_ids: Sequence[str]) -> list[bool]:
        unknown = set(await self._waiter.register(job_ids))
        return [job_id not in unknown for job_id in job_ids]


def _held(wait: Wait, result: str | JobRejected, code: Accepted | None) -> Wait | JobRejected:
    if isinstance(result, JobRejected):
        wait.give_up()
        return result
    wait.is_registered = True
    if code is Accepted.ENDED:
        wait.tell(result, None)
    return wait


@asynccontextmanager
async def _reaching(limit_s: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError:
        text = f"Redis was not reached within {limit_s:g} s: check the server and CHATQ_REDIS_URL"
        raise StoreUnavailable(text) from None
