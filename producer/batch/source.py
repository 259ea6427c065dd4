"""The source: groups of lines, read in a thread of its own, because a pipe or a slow disk may block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator

from producer.batch.reader import BadLine, Line

GROUP_BYTES = 8 * 1024 * 1024
"""A group ends here even if it has few lines: several are in memory at a time."""

AHEAD = 2
"""Groups read before they are asked for."""

JOIN_S = 0.2
"""How long closing waits for the read that is under way."""

Group = list[Line | BadLine]


class Source:
    """Groups of lines, in order. The thread is a daemon: a read that never returns does not keep the process."""

    def __init__(self, lines: Iterable[Line | BadLine], *, group_lines: int) -> None:
        self._lines = lines
        self._group_lines = group_lines
        self._room = threading.Semaphore(AHEAD)
        self._is_closed = False
        self._groups: asyncio.Queue[Group | Exception | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._read, name="chatq-reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    async def next_group(self) -> Group | None:
        """The next lines; None at the end.

        Raises:
            BatchRefused: The input cannot be read, or is not the one that was begun with.
        """
        group = await self._groups.get()
        self._room.release()
        if isinstance(group, Exception):
            raise group
        return group

    def close(self) -> None:
        """Read no further."""
        self._is_closed = True
        self._room.release()
        # So that nobody closes the file under a read; one that waits for a pipe is left behind.
        if self._thread.is_alive():
            self._thread.join(timeout=JOIN_S)

    def _read(self) -> None:
        try:
            for group in _grouped(self._lines, self._group_lines):
                if not self._hand_over(group):
                    return
            self._hand_over(None)
        except Exception as exc:  # whatever it is, the side that waits for lines has to hear of it
            self._hand_over(exc)

    def _hand_over(self, group: Group | Exception | None) -> bool:
        self._room.acquire()
        if self._is_closed:
            return False
        try:
            self._loop.call_soon_threadsafe(self._groups.put_nowait, group)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return False
        return True


def _grouped(lines: Iterable[Line | BadLine], size: int) -> Iterator[Group]:
    group: Group = []
    group_bytes = 0
    for line in lines:
        group.append(line)
        group_bytes += line.size if isinstance(line, Line) else 0
        if len(group) >= size or group_bytes >= GROUP_BYTES:
            yield group
            group, group_bytes = [], 0
    if group:
        yield group
