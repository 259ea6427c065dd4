"""A proxy in front of a Redis: counts what clients send, and can fall silent like a dead peer does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Proxy:
    """Passes bytes on between clients and a server, both on unix sockets."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.url = f"unix://{folder / 'proxy.sock'}"
        self.sends = 0
        self.refuses = 0
        """So many connections are still to be cut after their first words."""
        self._path, self._server = folder / "proxy.sock", server
        self._pipes: list[asyncio.Task[None]] = []
        self._silent: set[asyncio.Task[None]] = set()

    def fall_silent(self) -> None:
        """The connections of now stay open and carry nothing more; later ones work."""
        self._silent.update(self._pipes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        listener = await asyncio.start_unix_server(self._connect, self._path)
        try:
            yield self
        finally:
            listener.close()
            for pipe in self._pipes:
                pipe.cancel()
            await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._server)
        self._pipes += [
            asyncio.create_task(self._pipe(reader, to_server, is_client=True)),
            asyncio.create_task(self._pipe(from_server, writer, is_client=False)),
        ]

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_client: bool
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                if is_client and self.refuses:
                    self.refuses -= 1
                    return
                if asyncio.current_task() not in self._silent:
                    self.sends += is_client
                    writer.write(data)
        finally:
            writer.close()
