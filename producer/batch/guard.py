"""The guard of a budget: watches what the client's other work costs, and cancels what waits once it is spent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice

from producer.batch.client import BatchClient
from producer.batch.outcome import LineRef
from producer.batch.spending import Spending
from shared.errors import StoreError
from shared.job import JobState

LOOK_S = 2.0
"""Between two looks at what the client has spent."""

CANCEL_S = 1.0
"""Between two looks for jobs to cancel: running ones whose call fails come back to wait."""

READ_BATCH = 100


class Guard:
    """Keeps a run within its budget.

    Args:
        in_flight: Lines by job id; the collector takes ended ones out.
        note_cancelling: Told once, before the first job is cancelled.
    """

    def __init__(
        self,
        spending: Spending,
        client: BatchClient,
        in_flight: Mapping[str, LineRef],
        *,
        note_cancelling: Callable[[], None],
    ) -> None:
        self._budget = spending.budget
        self._cancelled = spending.cancelled
        self._client = client
        self._in_flight = in_flight
        self._note_cancelling = note_cancelling

    async def run(self) -> None:
        """Watch until the budget is reached, then cancel queued jobs; for ever, so cancel it."""
        while not self._budget.reached.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._budget.reached.wait()
            with suppress(StoreError):  # the run itself meets that, and decides
                await self._budget.look_at_client()
        while True:
            with suppress(StoreError):
                await self._cancel_queued()
            await asyncio.sleep(CANCEL_S)

    async def _cancel_queued(self) -> None:
        """Cancel what waits; what runs may finish, also what is claimed meanwhile."""
        left = iter(list(self._in_flight))
        while ids := list(islice(left, READ_BATCH)):
            jobs = await self._client.get_many(ids)
            queued = [job.id for job in jobs if job is not None and job.state is JobState.QUEUED]
            if queued:
                self._note_cancelling()
                self._cancelled.update(queued)
                await self._client.cancel_many(queued, spares_running=True)
