"""The group follower: keeps a router's groups as they are in Redis, within two seconds of a change."""

from __future__ import annotations

import asyncio
import logging

from shared.errors import StoreError
from shared.routing import Router
from shared.store.groups import GroupStore

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""How often the version is looked at."""


class GroupFollower:
    """Follows the groups made at run time."""

    def __init__(self, groups: GroupStore, router: Router) -> None:
        self._groups = groups
        self._router = router
        self._version: bytes | None = None

    async def catch_up(self) -> None:
        """Take over what has changed.

        Raises:
            StoreUnavailable: No answer from Redis; the groups stay as they were.
        """
        version = await self._groups.version()
        if version == self._version:
            return
        # Perhaps of a version after that one: then it is read once more.
        _, run_time = await self._groups.read()
        self._version = version
        self._router.follow(self._router.groups.with_run_time(run_time))

    async def run(self) -> None:
        """Catch up for ever."""
        is_told = False  # once an outage
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.catch_up()
                is_told = False
            except StoreError as exc:
                if not is_told:
                    log.warning("following the model groups waits for Redis: %s", exc)
                is_told = True
