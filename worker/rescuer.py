"""The rescuer: puts jobs of dead workers back on their queues. Any worker may run one; they need no leader."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from shared.errors import StoreError
from shared.store.queue_keeper import QueueKeeper

log = logging.getLogger(__name__)

INTERVAL_S = 3.0
"""With 30 s leases a dead worker's jobs run elsewhere in at most 34 s."""

JUMP_S = 10.0
"""A gap between two rounds, or a jump of Redis's clock against ours, that is not a late timer."""


class Rescuer:
    """Looks for leases that ran out.

    Args:
        grace_s: No rescue for so long after Redis was away, after a clock jump, and after this process stood
            still: the owners of leases that ran out meanwhile get the time to renew them.
    """

    def __init__(self, keeper: QueueKeeper, *, grace_s: float) -> None:
        self._keeper = keeper
        self._grace_s = grace_s
        self._not_before = 0.0
        self._offset_s: float | None = None

    async def run(self) -> None:
        """Rescue for ever."""
        while True:
            asleep = time.monotonic()
            await asyncio.sleep(INTERVAL_S * random.uniform(0.7, 1.3))
            if time.monotonic() - asleep > INTERVAL_S + JUMP_S:
                self._hold_off()
            try:
                self._watch_clock(await self._keeper.now())
                if time.monotonic() >= self._not_before:
                    await self._round()
            except StoreError as exc:
                log.warning("rescuing waits for Redis: %s", exc)
                self._hold_off()

    def _hold_off(self) -> None:
        self._not_before = time.monotonic() + self._grace_s

    def _watch_clock(self, redis_now: float) -> None:
        """Leases are on Redis's clock: when it jumps, they all run out at once."""
        offset_s = redis_now - time.monotonic()
        if self._offset_s is not None and abs(offset_s - self._offset_s) > JUMP_S:
            self._hold_off()
        self._offset_s = offset_s

    async def _round(self) -> None:
        while True:
            rescued = await self._keeper.rescue()
            for job_id in rescued.back:
                log.warning("job %s: its worker is gone; back on its queue", job_id)
            for job_id in rescued.quarantined:
                log.warning(
                    "job %s: its worker is gone, again; a suspect, it goes through the quarantine", job_id
                )
            for job_id in rescued.failed:
                log.error("job %s: its worker is gone; it is not called again and has failed", job_id)
            if rescued.total < self._keeper.CHUNK:
                return
