"""The collector: takes jobs that ended and hands them to the recorder, whatever Redis does meanwhile."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from producer.batch.client import BatchClient, BatchWatch
from producer.batch.line_cost import cost_of
from producer.batch.outcome import LineRef
from producer.batch.record import BUDGET_REACHED
from producer.batch.recorder import Recorder
from producer.batch.spending import Spending
from producer.batch.tally import Tally
from producer.job_cost import job_cost
from shared.errors import StoreUnavailable
from shared.job import Job, JobError, JobState

POLL_S = 0.25
"""How long one look for ended jobs waits for the first."""

OUTAGE_PAUSE_S = 0.5

PROBE_S = 3.0
"""Silence after which Redis is asked for a sign of life."""


class Collector:
    """Collects what is in flight.

    Args:
        in_flight: Lines by job id; collected ones are taken out.
        retry_s: How long an unreachable Redis is borne.
        spending: What keeps the run within a budget, if it has one.
    """

    def __init__(
        self,
        client: BatchClient,
        watch: BatchWatch,
        recorder: Recorder,
        tally: Tally,
        in_flight: dict[str, LineRef],
        *,
        retry_s: float,
        spending: Spending | None = None,
    ) -> None:
        self._client = client
        self._watch = watch
        self._recorder = recorder
        self._tally = tally
        self._in_flight = in_flight
        self._retry_s = retry_s
        self._spending = spending
        self._answered_at = time.monotonic()

    async def collect(self, *, timeout_s: float = POLL_S) -> int:
        """Take what has ended; returns how many jobs.

        Raises:
            StoreUnavailable: For longer than `retry_s`.
        """
        try:
            jobs = await self._watch.next_batch(timeout_s=timeout_s)
            if not jobs and time.monotonic() - self._answered_at > PROBE_S:
                # Nothing ended for long: is that the upstream, or is Redis gone?
                await self._client.get_many(list(self._in_flight)[:1])
                self._answered_at = time.monotonic()
        except StoreUnavailable:
            if time.monotonic() - self._answered_at > self._retry_s:
                raise
            await asyncio.sleep(OUTAGE_PAUSE_S)
            return 0
        if jobs:
            self._answered_at = time.monotonic()
        for job in jobs:
            self._take(job)
        self._tally.in_flight = len(self._in_flight)
        return len(jobs)

    def give_up_lost(self) -> None:
        """Record the lines whose jobs Redis has lost: nothing is pending, yet they were not delivered.

        Only for a moment when nothing is being submitted.
        """
        if self._watch.pending == 0:
            for job_id in list(self._in_flight):
                self._take(_lost(job_id))

    def _take(self, job: Job) -> None:
        line = self._in_flight.pop(job.id, None)
        if line is None:
            return
        cost = job_cost(job)
        if self._spending is None:
            self._recorder.take_job(line, job, cost_of(cost))
            return
        line_cost = self._spending.budget.settle(job.id, cost)
        if job.state is JobState.CANCELLED and job.id in self._spending.cancelled:
            why = JobError(BUDGET_REACHED, self._spending.gate.text)
            job = replace(job, state=JobState.FAILED, error=why)
        self._recorder.take_job(line, job, line_cost)


def _lost(job_id: str) -> Job:
    error = JobError("job_lost", "Redis lost this job; a retry of the failed lines asks again")
    return Job(
        id=job_id,
        state=JobState.FAILED,
        lane="",
        queue="",
        requested_model=None,
        candidate=None,
        attempts=0,
        created_at=None,
        error=error,
    )
