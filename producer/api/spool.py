"""A spool: bytes on their way to a caller who may not read yet; what memory should not hold goes to disk.

Many clients read no answer before they have sent their whole body. Were they made to wait until they read, both
sides would wait for ever.
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import IO

MEMORY_BYTES = 1024 * 1024
"""Bytes kept in memory."""

DISK_BYTES = 256 * 1024 * 1024
"""Bytes kept on disk: three million answers. Who does not read that much is made to wait."""

READ_BYTES = 64 * 1024


class Spool:
    """First in, first out; for one writer and one reader."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115  # close()
        self._read = self._written = 0
        self._is_ended = False
        self._has_news = asyncio.Event()
        self._has_room = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Add bytes; waits while too many are there."""
        while self._written - self._read > DISK_BYTES:
            self._has_room.clear()
            await self._has_room.wait()
        self._file.seek(self._written)
        self._file.write(data)
        self._written += len(data)
        self._has_news.set()

    def end(self) -> None:
        """Nothing more is added."""
        self._is_ended = True
        self._has_news.set()

    async def get(self) -> bytes:
        """Some of the bytes that come next; empty when there are none left and none will come."""
        while self._read == self._written and not self._is_ended:
            self._has_news.clear()
            await self._has_news.wait()
        self._file.seek(self._read)
        data = self._file.read(READ_BYTES)
        self._read += len(data)
        if self._read == self._written:  # begin anew, in memory
            self._file.seek(0)
            self._file.truncate()
            self._read = self._written = 0
        self._has_room.set()
        return data

    def close(self) -> None:
        """Drop what is left."""
        self._file.close()
