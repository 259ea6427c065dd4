"""The bookkeeper: adds what calls cost up by day, before the capped stream drops their events."""

from __future__ import annotations

import asyncio
import logging
import random

from shared.errors import StoreError
from shared.store.connect import Store
from shared.store.costs import CostLog

log = logging.getLogger(__name__)

INTERVAL_S = 5.0
"""A stream of 100,000 entries lasts a minute at 1,500 jobs a second."""


class Bookkeeper:
    """Folds the stream of events into the sums of days; any number of workers may do it."""

    def __init__(self, store: Store) -> None:
        self._costs = CostLog(store)

    async def run(self) -> None:
        """Fold for ever."""
        while True:
            await asyncio.sleep(INTERVAL_S * random.uniform(0.7, 1.3))
            try:
                await self._costs.fold()
            except StoreError as exc:
                log.warning("adding costs up waits for Redis: %s", exc)
