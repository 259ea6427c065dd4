"""The promoter: puts jobs whose backoff or rate-limit wait is over back on their queues."""

from __future__ import annotations

import asyncio
import logging

from shared.errors import StoreError
from shared.store.grants import QueueKeeper

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
        self._next_s = poll_s

    def parked(self, delay_s: float) -> None:
        """This worker parked a job for so long."""
        if delay_s < self._next_s:
            self._next_s = delay_s
            self._due_sooner.set()

    async def run(self) -> None:
        """Promote for ever."""
        while True:
            try:
                due_s = await self._keeper.promote()
            except StoreError as exc:
                log.warning("promoting waits for Redis: %s", exc)
                due_s = None
            self._next_s = self._poll_s if due_s is None else min(due_s, self._poll_s)
            await self._sleep()

    async def _sleep(self) -> None:
        """Sleep for `_next_s`, which `parked` may shorten meanwhile."""
        self._due_sooner.clear()
        try:
            async with asyncio.timeout(self._next_s):
                await self._due_sooner.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(self._next_s, 0.005))
