"""The rescuer: puts jobs of dead workers back on their queues. Any worker may run one; they need no leader."""

from __future__ import annotations

import asyncio
import logging
import random
import time

import orjson

from shared.errors import StoreError
from shared.store.grants import QueueKeeper

log = logging.getLogger(__name__)

INTERVAL_S = 3.0
"""With 30 s leases a dead worker's jobs run elsewhere in at most 34 s."""

GRACE_S = 10.0
"""After a gap this long (Redis was away, this process was stopped) one round is left out: the owners of leases
that ran out meanwhile get the time to renew them."""

LOST = orjson.dumps(
    {
        "code": "worker_lost",
        "message": "the worker died during the last attempt allowed; it may have been billed",
    }
)


class Rescuer:
    """Looks for leases that ran out."""

    def __init__(self, keeper: QueueKeeper) -> None:
        self._keeper = keeper

    async def run(self) -> None:
        """Rescue for ever."""
        last_mono, last_redis = time.monotonic(), 0.0
        while True:
            await asyncio.sleep(INTERVAL_S * random.uniform(0.7, 1.3))
            gap_s, last_mono = time.monotonic() - last_mono, time.monotonic()
            if gap_s > GRACE_S:
                continue
            try:
                redis_now = await self._keeper.now()
                jumped_s = redis_now - last_redis - gap_s
                last_redis = redis_now
                if last_redis and jumped_s < GRACE_S:
                    await self._round()
            except StoreError as exc:
                log.warning("rescuing waits for Redis: %s", exc)

    async def _round(self) -> None:
        while True:
            back, failed = await self._keeper.rescue(LOST)
            for job_id in back:
                log.warning("job %s: its worker is gone; back on its queue", job_id)
            for job_id in failed:
                log.error("job %s: its worker is gone and no attempt is left; failed as worker_lost", job_id)
            if len(back) + len(failed) < self._keeper.CHUNK:
                return
