"""Dead letters as an operator handles them: look through, replay, drop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from producer.replay import Replayer
from shared.errors import JobNotFound, JobRejected
from shared.job import Job
from shared.store.dead import OPENED, DeadLetters, Replay
from shared.store.jobs import JobStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Which:
    """Which dead letters are meant.

    Attributes:
        queue: A queue, or a provider for all its lanes; None = all.
        code: Code of their error; None = any.
        within_s: Ended in the last so many seconds; None = whenever.
    """

    queue: str | None = None
    code: str | None = None
    within_s: float | None = None

    def covers(self, job: Job, now: float) -> bool:
        """Whether this dead letter is meant; what ends after `now` is not."""
        if self.code is not None and (job.error is None or job.error.code != self.code):
            return False
        age_s = now - (job.ended_at or 0.0)
        return age_s >= 0 and (self.within_s is None or age_s <= self.within_s)

    def covers_queue(self, queue: str) -> bool:
        """Whether a queue's dead letters are meant."""
        return self.queue in (None, queue, queue.rpartition(".")[0])


class Dead:
    """The dead letters of all queues."""

    def __init__(self, letters: DeadLetters, jobs: JobStore, replayer: Replayer) -> None:
        self._letters = letters
        self._jobs = jobs
        self._replayer = replayer

    async def find(self, which: Which) -> AsyncIterator[list[Job]]:
        """Pages of dead letters, newest first.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        now = await self._letters.now()
        async for page in self._letters.newest(await self._queues(which)):
            if found := [job for job in page if which.covers(job, now)]:
                yield found

    async def get(self, job_id: str) -> Job:
        """One dead letter.

        Raises:
            JobNotFound: There is none of this id.
        """
        (job,) = await self._named([job_id])
        return job

    async def replay(self, job_ids: Sequence[str], *, model: str | None = None) -> list[str]:
        """Queue dead letters again, with all their attempts; returns the ids of those that are.

        Each goes where its model leads now: groups choose anew, and its fallbacks are those it was asked for with.

        Args:
            model: Ask for this one instead, wherever it leads.

        Raises:
            JobNotFound: One of them is no dead letter; none is replayed.
            ProviderNotFound, InvalidRequest: A model leads nowhere, or one holds no request; none is replayed.
            StoreFull: Redis is at maxmemory.
            StoreUnavailable: Unknown outcome; replay them again.
        """
        if model is not None:
            self._replayer.check_model(model)
        prepared = await self._prepared(await self._named(job_ids), model)
        for one in prepared:
            if isinstance(one, JobRejected):
                raise one
        return await self._letters.replay([one for one in prepared if isinstance(one, Replay)])

    async def drop(self, job_ids: Sequence[str]) -> int:
        """Delete dead letters; returns how many.

        Raises:
            JobNotFound: One of them is no dead letter; none is dropped.
            StoreUnavailable: Some may be gone; drop them again.
        """
        await self._named(job_ids)
        return await self._jobs.forget(job_ids)

    async def replay_all(self, which: Which, *, model: str | None = None) -> AsyncIterator[int]:
        """Queue all that are meant again; yields how many so far. What ends after the start is left alone.

        Those that cannot go on (their model leads nowhere any more, or they hold no request) stay; the log says so.

        Raises:
            ProviderNotFound, InvalidRequest: `model` leads nowhere; none is replayed.
            StoreFull: Redis is at maxmemory.
            StoreUnavailable: Unknown outcome; replay them again.
        """
        if model is not None:
            self._replayer.check_model(model)
        count, left = 0, []
        async for page in self._pages(which):
            prepared = await self._prepared(page, model)
            left += [one for one in prepared if isinstance(one, JobRejected)]
            count += len(await self._letters.replay([one for one in prepared if isinstance(one, Replay)]))
            yield count
        if left:
            log.warning("%d dead letters stay where they are; the first: %s", len(left), left[0])

    async def drop_all(self, which: Which) -> AsyncIterator[int]:
        """Delete all that are meant; yields how many so far.

        Raises:
            StoreUnavailable: Some are gone; drop them again.
        """
        count = 0
        async for page in self._pages(which):
            count += await self._jobs.forget([job.id for job in page])
            yield count

    async def _prepared(self, jobs: Sequence[Job], model: str | None) -> list[Replay | JobRejected]:
        prepared: list[Replay | JobRejected] = []
        for start in range(0, len(jobs), OPENED):
            letters = await self._letters.open(jobs[start : start + OPENED])
            prepared += await self._replayer.prepare(letters, model=model)
        return prepared

    async def _pages(self, which: Which) -> AsyncIterator[list[Job]]:
        # Replayed ones that fail at once come back into the registries that are being read.
        begun_at = await self._letters.now()
        async for page in self._letters.all(await self._queues(which)):
            yield [job for job in page if which.covers(job, begun_at)]

    async def _named(self, job_ids: Sequence[str]) -> list[Job]:
        jobs = {job.id: job for job in await self._letters.read(job_ids)}
        for job_id in job_ids:
            if job_id not in jobs:
                raise JobNotFound(f"no dead letter {job_id}: it is gone, or did not fail")
        return list(jobs.values())

    async def _queues(self, which: Which) -> list[str]:
        return [queue for queue in await self._letters.queues() if which.covers_queue(queue)]
