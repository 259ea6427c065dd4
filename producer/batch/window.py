"""The window: how many lines are between the input file and the output file, most of them in Redis."""

from __future__ import annotations

import asyncio


class Window:
    """Slots, taken by one feeder and given back as lines are recorded."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self._has_room = asyncio.Event()

    async def take(self, count: int) -> None:
        """Wait for room for `count` lines, at most `size`."""
        while self.taken + count > self.size:
            self._has_room.clear()
            await self._has_room.wait()
        self.taken += count

    def release(self, count: int) -> None:
        """Give slots back."""
        self.taken -= count
        self._has_room.set()
