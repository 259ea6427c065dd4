"""Signals: one pub/sub connection a process, that heals itself.

Pub/sub delivers at most once, so a signal is only ever a reason to look now instead of at the next slow poll.
After every (re)subscription `on_gap` is called: whatever was published meanwhile was missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis.exceptions import NoPermissionError, RedisError, TimeoutError

from shared.background import end_tasks
from shared.store.connect import Store
from shared.store.pipe import Pipe

log = logging.getLogger(__name__)

LISTEN_S = 15.0
"""Longest silence before the server is asked for a sign of life, and longest wait for that."""

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
        listen_s: float = LISTEN_S,
    ) -> None:
        """Prepare; nothing is sent before `start`.

        Args:
            on_message: Called in the loop with channel and content (untrusted).
            on_gap: Called after each subscription.
            listen_s: A connection without a word from Redis is given up within twice this time, in seconds.
        """
        self._store = store
        self._channels = channels
        self._on_message = on_message
        self._on_gap = on_gap
        self._listen_s = listen_s
        self._started = asyncio.Event()
        self._has_failed = False
        self._heard_at = 0.0
        self._words = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe, once; returns when the channels are live, or refused to this user for good.

        A cancelled start goes on in the background until `stop`; calling again waits for it.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="signals")
        await self._started.wait()

    async def stop(self) -> None:
        """End the subscription."""
        if self._task is not None:
            await end_tasks(self._task)

    async def _listen(self) -> None:
        while True:
            try:
                over: asyncio.Future[RedisError] = asyncio.get_running_loop().create_future()
                async with self._store.pipe(
                    on_reply=partial(self._heard, over), on_lost=partial(_end, over)
                ) as pipe:
                    pipe.send(("SUBSCRIBE", *self._channels))
                    await self._watch(pipe, over)
            except NoPermissionError as exc:
                self._failed(exc)
                self._started.set()  # nobody need wait for what will not come: the slow polls do the work
            except (RedisError, OSError) as exc:
                self._failed(exc)
            await asyncio.sleep(RECONNECT_S)

    def _failed(self, exc: Exception) -> None:
        """One line an outage, not one each try."""
        if not self._has_failed:
            log.warning("no signals from Redis, slow polls go on: %s", exc or type(exc).__name__)
        self._has_failed = True

    async def _watch(self, pipe: Pipe, over: asyncio.Future[RedisError]) -> None:
        """Wait until the connection is over, and find out if nobody says so.

        Raises:
            RedisError: What ended it.
        """
        loop = asyncio.get_running_loop()
        since, is_asked, known = loop.time(), False, self._words
        while True:
            await asyncio.wait((over,), timeout=since + self._listen_s - loop.time())
            if over.done():
                raise over.result()
            if self._words != known:  # counted: the loop's clock may stand still from question to answer
                since, is_asked, known = self._heard_at, False, self._words
            elif is_asked:
                # A dead peer, or a proxy that forgot us: TCP alone would not tell for hours.
                raise TimeoutError("the subscription does not answer a PING")
            else:
                pipe.send(("PING",))
                since, is_asked = loop.time(), True

    def _heard(self, over: asyncio.Future[RedisError], reply: Any) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self._words += 1
        match reply:
            case [b"message", bytes(channel), bytes(data)]:
                self._on_message(channel.decode(), data)
            case [b"subscribe", _, int(count)] if count == len(self._channels):
                self._live()
            case RedisError():
                _end(over, reply)

    def _live(self) -> None:
        self._has_failed = False
        self._started.set()
        self._on_gap()


def _end(over: asyncio.Future[RedisError], error: RedisError) -> None:
    if not over.done():
        over.set_result(error)
