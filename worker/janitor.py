"""The janitor: trims registries of what ended long ago, and puts right what broken data left, now and then."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from shared.errors import StoreError
from shared.store.connect import Store
from shared.store.hygiene import adopt_orphans, trim_registries
from shared.store.limits import LimitStore
from shared.store.listing import ListingSweeper

log = logging.getLogger(__name__)

INTERVAL_S = 60.0


class Janitor:
    """Keeps RQ's registries from growing; finalize trims the busiest one itself."""

    def __init__(self, store: Store, queues: Sequence[str], *, failure_ttl_s: int) -> None:
        self._store = store
        self._limits = LimitStore(store)
        self._listings = ListingSweeper(store)
        self._queues = queues
        self._failure_ttl_s = failure_ttl_s

    async def run(self) -> None:
        """Clean for ever."""
        while True:
            try:
                await trim_registries(self._store, self._queues, failure_ttl_s=self._failure_ttl_s)
                if orphans := await adopt_orphans(self._store, self._queues):
                    log.warning("%d running jobs had no lease; the rescuer takes them", orphans)
                if freed := await self._limits.sweep():
                    log.warning("freed %d slots that no living job held", freed)
                await self._listings.sweep()
            except StoreError as exc:
                log.warning("cleaning waits for Redis: %s", exc)
            await asyncio.sleep(INTERVAL_S * random.uniform(0.7, 1.3))
