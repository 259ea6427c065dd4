"""The limit publisher: tells the fleet what this worker's settings say of limits, again when Redis has lost it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from shared.errors import StoreError
from shared.providers import Provider
from shared.settings import Settings
from shared.store.limits import LimitStore

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
"""How long a Redis that lost its data goes without limits: accounts fall back to adaptive concurrency meanwhile."""


class LimitPublisher:
    """Publishes limits. Of several workers with different settings the one that started last wins."""

    def __init__(self, limits: LimitStore, providers: Mapping[str, Provider], settings: Settings) -> None:
        self._limits = limits
        self._providers = providers
        self._settings = settings

    async def publish(self) -> None:
        """Publish now.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        await self._limits.publish(self._providers, self._settings)

    async def run(self) -> None:
        """Look for ever whether they are still there."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                if not await self._limits.are_published(self._providers):
                    log.warning("Redis has lost the limits: publishing them again")
                    await self.publish()
            except StoreError as exc:
                log.warning("looking after the limits waits for Redis: %s", exc)
