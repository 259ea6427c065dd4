"""A stall: an answer that has begun and then falls silent."""

from __future__ import annotations

import asyncio


class StallWatch:
    """Lets an `asyncio.timeout` scope expire when nothing was heard for too long.

    Hearing costs no timer: one stands per answer, and looks again when it finds that something was heard.

    Args:
        scope: The scope to end, opened with `asyncio.timeout(None)`; call `stop` before it closes.
        silence_s: Longest silence, in seconds, counted from now.
    """

    def __init__(self, scope: asyncio.Timeout, silence_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = scope
        self._silence_s = silence_s
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(silence_s, self._look)

    def heard(self) -> None:
        """Something came."""
        self._heard_at = self._loop.time()

    def allow_only(self, silence_s: float) -> None:
        """Be less patient from now on."""
        self._timer.cancel()
        self._silence_s = silence_s
        self._timer = self._loop.call_later(silence_s, self._look)

    def stop(self) -> None:
        """Stop watching."""
        self._timer.cancel()

    def _look(self) -> None:
        silent_until = self._heard_at + self._silence_s
        if self._loop.time() >= silent_until:
            self._scope.reschedule(self._loop.time())
        else:
            self._timer = self._loop.call_at(silent_until, self._look)
