"""What a batch needs of the producer: the seam at which tests put millions of lines through without a Redis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from producer.submission import Submission
from shared.errors import JobRejected
from shared.job import Job


class BatchWatch(Protocol):
    """See `producer.watch.Watch`."""

    @property
    def pending(self) -> int:
        """Jobs submitted and not delivered yet."""

    async def submit_many(self, submissions: Iterable[Submission]) -> list[str | JobRejected]:
        """Submit and watch."""

    async def next_batch(self, *, timeout_s: float) -> list[Job]:
        """Jobs that ended."""


class BatchClient(Protocol):
    """See `producer.client.Producer`."""

    def watch(self) -> AbstractAsyncContextManager[BatchWatch]:
        """A watch for one run."""

    async def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """Jobs as they are now."""

    async def forget(self, job_ids: Sequence[str]) -> int:
        """Delete ended jobs whose outcome is recorded."""

    async def cancel_many(self, job_ids: Sequence[str], *, spares_running: bool = False) -> int:
        """End jobs; returns how many the store knows."""
