"""Leftovers: jobs of an earlier session of the same run that are still in Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from producer.batch.client import BatchClient
from producer.batch.reader import Line
from shared.job import JobState

UNKNOWN_LINES = 20_000
"""Lines in a row that Redis does not know, blank ones for instance, after which there are none of a run any more:
lines are submitted in the order of the file."""


class Leftovers:
    """Tells lines that became jobs before from new ones.

    With a budget it matters: a job that runs already costs money whether its line fits or not, and its answer must
    be collected.

    Args:
        has_cancelled: Jobs may have been cancelled for want of money: those are dropped, and their lines new.
    """

    def __init__(self, client: BatchClient, *, has_cancelled: bool) -> None:
        self._client = client
        self._has_cancelled = has_cancelled
        self._unknown = 0

    async def divide(
        self, lines: Sequence[Line], job_id: Callable[[Line], str]
    ) -> tuple[list[Line], list[Line]]:
        """Lines that Redis has a job for, and new ones, both in order.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        if self._unknown >= UNKNOWN_LINES:
            return [], list(lines)
        jobs = await self._client.get_many([job_id(line) for line in lines])
        cancelled = [job.id for job in jobs if job is not None and job.state is JobState.CANCELLED]
        if self._has_cancelled and cancelled:
            await self._client.forget(cancelled)
            jobs = [None if job is None or job.id in cancelled else job for job in jobs]
        known = [line for line, job in zip(lines, jobs, strict=True) if job is not None]
        new = [line for line, job in zip(lines, jobs, strict=True) if job is None]
        self._unknown = 0 if known else self._unknown + len(lines)
        return known, new
