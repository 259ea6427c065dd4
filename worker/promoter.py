"""The promoter: puts jobs whose backoff or rate-limit wait is over back on their queues."""

from __future__ import annotations

import asyncio
import logging
import time

from shared.errors import StoreError
from shared.store.queue_keeper import QueueKeeper

log = logging.getLogger(__name__)


class Promoter:
    """Sleeps until the next job is due.

    Args:
        poll_s: Longest sleep: another worker may have parked a job that is due earlier.
    """

    def __init__(self, keeper: QueueKeeper, *, poll_s: float) -> None:
        self._keeper = keeper
        self._poll_s = poll_s
        self._due_sooner = asyncio.Event()
        self._next_at = 0.0

    def parked(self, delay_s: float) -> None:
        """This worker parked a job for so long."""
        due_at = time.monotonic() + delay_s
        if due_at < self._next_at:
            self._next_at = due_at
            self._due_sooner.set()

    async def run(self) -> None:
        """Promote for ever."""
        while True:
            self._next_at = time.monotonic() + self._poll_s
            try:
                due_s = await self._keeper.promote()
            except StoreError as exc:
                log.warning("promoting waits for Redis: %s", exc)
            else:
                if due_s is not None:
                    self.parked(due_s)
            await self._sleep()

    async def _sleep(self) -> None:
        """Sleep until `_next_at`, which `parked` may bring forward meanwhile."""
        while (left_s := self._next_at - time.monotonic()) > 0:
            self._due_sooner.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._due_sooner.wait()
            except TimeoutError:
                return
