"""The way in: submissions are validated, routed and handed to the store in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

from producer.submission import Submission, asked_models, prepare
from shared.background import end_tasks
from shared.errors import IdempotencyConflict, JobRejected, LaneFull
from shared.job import Candidate, Lane
from shared.live_facts import LiveFacts
from shared.routing import Router
from shared.settings import JobSettings
from shared.store.jobs import BATCH, Accepted, JobStore, NewJob, Refusal

AT_ONCE = 10
"""Jobs prepared before the loop has a turn: about 0.1 ms."""

Result = tuple[str | JobRejected, Accepted | None]
"""The job's id or the rejection, and what the store made of it; None = it did not come so far."""

Expect = Callable[[Sequence[str]], None]
"""Told the ids that are about to be enqueued."""


class Enqueuer:
    """Enqueues submissions.

    Args:
        facts: What groups go by.
    """

    def __init__(self, jobs: JobStore, router: Router, facts: LiveFacts, settings: JobSettings) -> None:
        self._jobs = jobs
        self._router = router
        self._facts = facts
        self._settings = settings

    async def enqueue(
        self, submissions: Iterable[Submission], *, channel: str = "", expect: Expect = lambda ids: None
    ) -> list[Result]:
        """Prepare, announce the ids that are about to be enqueued, enqueue; one batch while Redis has another.

        Args:
            channel: Told when the jobs end; empty = nobody is.

        Returns:
            The result for each submission, in order.

        Raises:
            StoreFull, StoreUnavailable: Earlier ones of this call may be in.
        """
        results: list[Result] = []
        under_way: asyncio.Task[list[Result]] | None = None
        rest = iter(submissions)
        try:
            while batch := list(islice(rest, BATCH)):
                prepared = await self._prepare(batch)
                if under_way is not None:
                    results += await under_way
                sending = self._send(prepared, channel, expect)
                if len(batch) < BATCH:  # the last one
                    return results + await sending
                under_way = asyncio.create_task(sending, name="enqueue")
            return results + await under_way if under_way is not None else results
        finally:
            if under_way is not None:
                await end_tasks(under_way)

    async def _send(
        self, prepared: Sequence[NewJob | JobRejected], channel: str, expect: Expect
    ) -> list[Result]:
        jobs = [p for p in prepared if isinstance(p, NewJob)]
        expect([job.id for job in jobs])
        enqueued = await self._jobs.enqueue(jobs, channel=channel)
        codes = iter(enqueued.codes)
        return [
            _result(p, next(codes), enqueued.refusals.get(p.queue)) if isinstance(p, NewJob) else (p, None)
            for p in prepared
        ]

    async def _prepare(self, submissions: Sequence[Submission]) -> list[NewJob | JobRejected]:
        """Prepare a batch; one that asks groups with what is known of their candidates now.

        Now and then the loop has a turn, to send the batch before and to serve others.
        """
        asks_groups = any(map(self._router.group_of, asked_models(submissions)))
        prepared: list[NewJob | JobRejected] = []
        for start in range(0, len(submissions), AT_ONCE):
            some = submissions[start : start + AT_ONCE]
            if asks_groups:
                prepared += await self._facts.decide(partial(self._prepare_by_facts, some))
            else:
                prepared += [prepare(one, self._router, self._settings) for one in some]
            if len(some) == AT_ONCE:
                await asyncio.sleep(0)
        return prepared

    def _prepare_by_facts(self, submissions: Sequence[Submission]) -> list[NewJob | JobRejected]:
        """Prepare some, each with the ones before it counted."""
        prepared: list[NewJob | JobRejected] = []
        for submission in submissions:
            try:
                lane = Lane(submission.lane)
            except ValueError:
                lane = Lane.DEFAULT  # it is rejected
            job = prepare(submission, self._router, self._settings, self._facts.of(lane))
            if isinstance(job, NewJob):
                self._facts.sent(Candidate(*job.candidates[0][:2]), lane)
            prepared.append(job)
        return prepared


def _result(job: NewJob, code: Accepted, refusal: Refusal | None) -> Result:
    if code is Accepted.CONFLICT:
        text = f"the idempotency key belongs to job {job.id}, which has another body"
        return IdempotencyConflict(text, job_id=job.id), code
    if code is Accepted.REFUSED:
        return _lane_full(job.queue, refusal), code
    return job.id, code


_BOUNDS = {
    "jobs": "{:,.0f} jobs wait there",
    "bytes": "{:,.0f} bytes wait there",
    "age": "its oldest job has waited {:,.0f} s",
}


def _lane_full(queue: str, refusal: Refusal | None) -> LaneFull:
    """The refusal in words."""
    why = "it is full"
    if refusal is not None:
        unit = 1000 if refusal.bound == "age" else 1
        why = _BOUNDS[refusal.bound].format(refusal.there / unit)
    retry_after_s = refusal.retry_after_s if refusal else None
    when = "later" if retry_after_s is None else f"in {max(1.0, retry_after_s):,.0f} s"
    lane = queue.rpartition(".")[2]
    text = f"queue {queue} takes no more: {why} (bounds: [admission.{lane}]); try again {when}"
    return LaneFull(text, queue=queue, retry_after_s=retry_after_s)
