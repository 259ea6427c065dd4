"""Total time-outs for many calls in flight, with one timer for all that end in the same moment.

A timer each would cost more than encoding the request: on uvloop, making and cancelling one is the dearest
part of `asyncio.timeout`, and nearly all are cancelled.
"""

from __future__ import annotations

import asyncio

TICK_S = 0.05
"""Deadlines are rounded up to a multiple of this, in seconds; a call of minutes may end that much late."""


class Deadlines:
    """Lets `asyncio.timeout` scopes expire, without a timer each.

    A scope is opened with `asyncio.timeout(None)`, watched here, and forgotten before it closes.
    """

    def __init__(self) -> None:
        self._ticks: dict[int, tuple[set[asyncio.Timeout], asyncio.TimerHandle]] = {}

    def watch(self, scope: asyncio.Timeout, timeout_s: float) -> int:
        """Let the scope expire in `timeout_s` seconds; returns the tick that `forget` wants."""
        loop = asyncio.get_running_loop()
        tick = int((loop.time() + timeout_s) / TICK_S) + 1
        watched = self._ticks.get(tick)
        if watched is None:
            watched = self._ticks[tick] = (set(), loop.call_at(tick * TICK_S, self._expire, tick))
        watched[0].add(scope)
        return tick

    def forget(self, scope: asyncio.Timeout, tick: int) -> None:
        """Stop watching; harmless when the scope has expired."""
        watched = self._ticks.get(tick)
        if watched is None:
            return
        scopes, timer = watched
        scopes.discard(scope)
        if not scopes:
            timer.cancel()
            del self._ticks[tick]

    def _expire(self, tick: int) -> None:
        now = asyncio.get_running_loop().time()
        for scope in self._ticks.pop(tick)[0]:
            scope.reschedule(now)
