"""A wait for the end of one job."""

from __future__ import annotations

import asyncio
from types import TracebackType

from producer.waiter import Waiter
from shared.store.reading import Told


class Wait:
    """Made and finished by `Answers`. A context manager: leaving it gives it up.

    Attributes:
        job_id: The job's.
        is_registered: Whether the store knows of it.
    """

    def __init__(self, job_id: str, waiter: Waiter) -> None:
        self.job_id = job_id
        self.is_registered = False
        self._waiter = waiter
        self._ended: asyncio.Future[Told | None] = asyncio.get_running_loop().create_future()
        waiter.expect(job_id, self.tell)

    def __enter__(self) -> Wait:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Be told nothing any more."""
        self._waiter.drop(self.job_id, self.tell)

    def tell(self, _job_id: str, ended: Told | None) -> None:
        """The job has ended; what became of it, if that came along."""
        if not self._ended.done():
            self._ended.set_result(ended)

    async def until_told(self) -> Told | None:
        """Wait until it has ended."""
        return await self._ended
