"""Signals: one pub/sub connection a process, that heals itself.

Pub/sub delivers at most once, so a signal is only ever a reason to look now instead of at the next slow poll.
After every (re)subscription `on_gap` is called: whatever was published meanwhile was missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from shared.background import end_tasks
from shared.store.connect import Store

LISTEN_S = 15.0
"""Longest single wait; between waits the client checks that the connection still answers."""

RECONNECT_S = 0.5


class Signals:
    """Listens on channels for the life of the object."""

    def __init__(
        self,
        store: Store,
        channels: Sequence[str],
        *,
        on_message: Callable[[str, bytes], None],
        on_gap: Callable[[], None],
    ) -> None:
        """Prepare; nothing is sent before `start`.

        Args:
            on_message: Called in the loop with channel and content (untrusted).
            on_gap: Called after each subscription.
        """
        self._store = store
        self._channels = channels
        self._on_message = on_message
        self._on_gap = on_gap
        self._subscribed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe; returns once the channels are live."""
        self._task = asyncio.create_task(self._listen(), name="signals")
        await self._subscribed.wait()

    async def stop(self) -> None:
        """End the subscription."""
        if self._task is not None:
            await end_tasks(self._task)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._store.subscriber() as pubsub:
                    await pubsub.subscribe(*self._channels)
                    self._subscribed.set()
                    self._on_gap()
                    await self._pass_on(pubsub)
            except (RedisError, OSError):
                await asyncio.sleep(RECONNECT_S)

    async def _pass_on(self, pubsub: PubSub) -> None:
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=LISTEN_S)
            if message is not None and message["type"] == "message":
                self._on_message(message["channel"].decode(), message["data"])
