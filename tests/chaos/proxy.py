"""A proxy that misbehaves like a network: in front of a Redis or of an upstream, on unix sockets or TCP."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

Address = Path | tuple[str, int]
"""A unix socket, or a host and a port."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: closing sends a reset."""

CHUNK = 1 << 16


class Link:
    """One client's connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        self.is_eating = False

    def reset(self) -> None:
        """End both sides at once; over TCP the client sees a reset."""
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class Proxy:
    """Passes bytes on, unless told otherwise. Faults hold until they are taken back.

    Attributes:
        target: Where connections go; changing it moves later connections only.
        delay_s: Added to every chunk, each way.
        drops_requests, drops_replies: That direction carries nothing; connections stay open.
        reset_share: Probability that a chunk of a client resets its connection.
        trickle_s: Replies come one byte at a time, this far apart; 0 = off.
        half_closes: After the first request chunk of a connection, the server is told that the client has ended.
        eaten_at: When replies were swallowed, Unix seconds.
    """

    def __init__(self, listen: Address, target: Address, *, seed: int = 0) -> None:
        self.target = target
        self.delay_s = 0.0
        self.drops_requests = False
        self.drops_replies = False
        self.reset_share = 0.0
        self.trickle_s = 0.0
        self.half_closes = False
        self.eaten_at: list[float] = []
        self._listen = listen
        self._rng = random.Random(seed)
        self._to_eat: list[bytes] = []
        self._links: set[Link] = set()
        self._pipes: set[asyncio.Task[None]] = set()
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        """Listen; a TCP port of 0 takes a free one (`port`)."""
        if isinstance(self._listen, Path):
            listener: asyncio.Server = await asyncio.start_unix_server(self._connect, self._listen)
        else:
            listener = await asyncio.start_server(self._connect, *self._listen)
            self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            self.reset_all()
            for pipe in list(self._pipes):
                pipe.cancel()
            await asyncio.gather(*self._pipes, return_exceptions=True)

    def heal(self) -> None:
        """Take every standing fault back. What was dropped stays lost: those connections are reset."""
        had_dropped = self.drops_requests or self.drops_replies or self.half_closes
        self.delay_s = self.reset_share = self.trickle_s = 0.0
        self.drops_requests = self.drops_replies = self.half_closes = False
        if had_dropped:
            self.reset_all()

    def eat_reply(self, *markers: bytes) -> None:
        """The reply to the next request that holds each of these is swallowed, and its connection reset."""
        self._to_eat += markers

    @property
    def has_eaten_all(self) -> bool:
        return not self._to_eat and not any(link.is_eating for link in self._links)

    def reset_all(self) -> None:
        """Reset every connection of now."""
        for link in list(self._links):
            link.reset()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self.target, Path):
                from_server, to_server = await asyncio.open_unix_connection(self.target)
            else:
                from_server, to_server = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, to_server)
        self._links.add(link)
        for pipe in (self._requests(link, reader), self._replies(link, from_server)):
            task = asyncio.create_task(self._pipe(link, pipe))
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)

    async def _pipe(self, link: Link, pipe: Awaitable[None]) -> None:
        try:
            await pipe
        except OSError:
            pass  # one side is gone: so is the other
        finally:
            self._links.discard(link)
            link.client.close()
            link.server.close()

    async def _requests(self, link: Link, reader: asyncio.StreamReader) -> None:
        tail = b""
        while data := await reader.read(CHUNK):
            if self.reset_share and self._rng.random() < self.reset_share:
                link.reset()
                return
            if self._to_eat:
                tail = self._look_for(link, tail + data)
            await self._pass(data, link.server, dropped=lambda: self.drops_requests)
            if self.half_closes and link.server.can_write_eof():
                link.server.write_eof()

    def _look_for(self, link: Link, seen: bytes) -> bytes:
        """Arm the link if a marked request went by; returns what may be the start of another marker."""
        for marker in self._to_eat:
            if marker in seen:
                self._to_eat.remove(marker)
                link.is_eating = True
                return b""
        return seen[-64:]

    async def _replies(self, link: Link, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK):
            if link.is_eating:
                link.is_eating = False
                self.eaten_at.append(time.time())
                link.reset()
                return
            for piece in [data[i : i + 1] for i in range(len(data))] if self.trickle_s else [data]:
                await self._pass(piece, link.client, dropped=lambda: self.drops_replies)
                if self.trickle_s:
                    await asyncio.sleep(self.trickle_s)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter, *, dropped: Callable[[], bool]) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if not dropped():
            writer.write(data)
            await writer.drain()
