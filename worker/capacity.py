"""How many jobs a worker holds: all it may, or what it has sockets for. Pure: the time comes in.

A call that finds no file descriptor, local port or buffer is this machine's shortage, not the provider's. What
runs then is what there is room for: the worker holds a little less than that for a while, which doubles with
every further shortage, and then grows until all its slots are back.
"""

from __future__ import annotations

import logging
import math

log = logging.getLogger(__name__)

OWN_FILES = 32
"""File descriptors a worker needs beside its calls: Redis, spool, metrics, event loop, modules it loads."""

KEPT = 0.9
"""Share of the running calls that is held after a shortage; the rest leaves room for a new connection to Redis."""

HOLD_S = (1.0, 30.0)
"""First and longest time without growth, in seconds."""

GROW_S = 1.0
"""After the hold there is half as much again every so many seconds."""

CALM_S = 60.0
"""A shortage so long after the last hold, in seconds, is a new one: it is told, and the hold is the first again."""


def affordable(slots: int, *, files: int | None) -> int:
    """As many of the slots as there are file descriptors for, at least 1.

    Args:
        files: How many the process may have open; None = any number.
    """
    return slots if files is None else max(1, min(slots, files - OWN_FILES))


class Capacity:
    """The slots of one worker.

    Args:
        slots: How many there are when all is well.
    """

    def __init__(self, slots: int) -> None:
        self._all = slots
        self._now = slots
        self._hold_s = HOLD_S[0]
        self._held_until = -math.inf
        self._grows_at = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is short."""
        return self._now == self._all

    def slots(self, now_s: float) -> int:
        """How many jobs may be held at this moment; 0 = wait.

        Args:
            now_s: Seconds on a monotonic clock, as in `cut`.
        """
        if not self.is_whole and now_s >= self._grows_at:
            self._grow(now_s)
        return self._now

    def _grow(self, now_s: float) -> None:
        self._now = min(self._all, self._now + self._now // 2 + 1)
        self._grows_at = now_s + GROW_S
        if self.is_whole:
            log.info("there is room for %d jobs at a time again", self._all)

    def cut(self, running: int, now_s: float, *, why: str) -> None:
        """A call found no socket.

        Args:
            running: Calls that go on.
            why: What ran out, and what helps, for the log.
        """
        self._now = min(self._now, int(KEPT * running))
        if now_s < self._held_until:
            return  # of the same shortage: several calls were about to start
        is_new = now_s >= self._held_until + CALM_S
        if is_new:
            log.warning("fewer than %d jobs at a time for now: %s", self._all, why)
        self._hold_s = HOLD_S[0] if is_new else min(2 * self._hold_s, HOLD_S[1])
        self._held_until = self._grows_at = now_s + self._hold_s
