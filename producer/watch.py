"""A watch: many jobs submitted and collected as they end, each delivered exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from types import TracebackType

from producer.enqueuer import Enqueuer
from producer.submission import Submission
from producer.waiter import Waiter
from shared.errors import JobRejected, StoreError
from shared.job import Job
from shared.store.jobs import Accepted, JobStore
from shared.store.reading import Told

READ_BATCH = 100
"""Jobs read in one pipeline."""


class Watch:
    """Delivers jobs that end, in batches, in the order they end. Use it as an async context manager."""

    def __init__(self, waiter: Waiter, jobs: JobStore, enqueuer: Enqueuer) -> None:
        self._waiter = waiter
        self._jobs = jobs
        self._enqueuer = enqueuer
        self._waiting: set[str] = set()
        self._ended: dict[str, None] = {}  # in the order they ended
        self._has_some = asyncio.Event()

    async def __aenter__(self) -> Watch:
        await self._waiter.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._drop(list(self._waiting))

    @property
    def pending(self) -> int:
        """Jobs submitted or added and not delivered yet."""
        return len(self._waiting) + len(self._ended)

    async def submit_many(self, submissions: Iterable[Submission]) -> list[str | JobRejected]:
        """Submit and watch in one step; an outcome that is there already is delivered too.

        Returns:
            A job id or the rejection for each submission, in order.

        Raises:
            StoreFull, StoreUnavailable: Submit the same again; with idempotency keys nothing is doubled.
        """
        announced: list[str] = []

        def expect(job_ids: Sequence[str]) -> None:
            # Before the enqueue: a job may end before its reply is here.
            announced.extend(self._expect(job_ids))

        try:
            results = await self._enqueuer.enqueue(submissions, channel=self._waiter.channel, expect=expect)
        except StoreError:
            self._drop(announced)
            raise
        self._waiter.enqueued(announced)
        accepted = {result for result, _ in results if isinstance(result, str)}
        # The id of a conflict may be that of a job of ours, accepted earlier or by this very call.
        self._drop(job_id for job_id in announced if job_id not in accepted)
        for result, code in results:
            if isinstance(result, str) and code is Accepted.ENDED:
                self._note(result)
        return [result for result, _ in results]

    async def add(self, job_ids: Sequence[str]) -> None:
        """Watch jobs submitted elsewhere; unknown ids are never delivered and not waited for.

        Raises:
            StoreUnavailable: None of them is watched now that was not before; add them again.
        """
        new = self._expect(job_ids)
        try:
            unknown = await self._waiter.register(new)
        except StoreError:
            self._drop(new)
            raise
        self._drop(unknown)

    async def next_batch(self, *, timeout_s: float) -> list[Job]:
        """Jobs that ended since the last call; waits for the first one, at most `timeout_s`.

        Raises:
            StoreUnavailable: The outcomes could not be read; call again, nothing is lost.
        """
        if not self._ended:
            self._has_some.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._has_some.wait()
            except TimeoutError:
                return []
        batch = list(islice(self._ended, READ_BATCH))
        jobs = await self._jobs.read(batch)
        for job_id in batch:
            del self._ended[job_id]
        # RQ's own requeue may have set an ended job back meanwhile: then it is not over.
        try:
            await self.add([job.id for job in jobs if job is not None and not job.state.is_terminal])
        except StoreError:
            self._ended = dict.fromkeys(batch) | self._ended
            raise
        return [job for job in jobs if job is not None and job.state.is_terminal]

    async def __aiter__(self) -> AsyncIterator[Job]:
        """Yield jobs until none is pending."""
        while self.pending:
            for job in await self.next_batch(timeout_s=60.0):
                yield job

    def _expect(self, job_ids: Sequence[str]) -> list[str]:
        """Expect those not pending yet; returns them."""
        new = [job_id for job_id in dict.fromkeys(job_ids) if not self._knows(job_id)]
        self._waiting.update(new)
        for job_id in new:
            self._waiter.expect(job_id, self._note)
        return new

    def _drop(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            self._waiter.drop(job_id, self._note)
            self._waiting.discard(job_id)

    def _knows(self, job_id: str) -> bool:
        return job_id in self._waiting or job_id in self._ended

    def _note(self, job_id: str, _ended: Told | None = None) -> None:
        self._waiter.drop(job_id, self._note)
        if job_id in self._waiting:
            self._waiting.discard(job_id)
            self._ended[job_id] = None
            self._has_some.set()
