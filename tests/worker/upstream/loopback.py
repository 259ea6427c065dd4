"""A scripted HTTP server on loopback: each connection is handed to the test, which does with it what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import orjson

from shared.chat import ChatRequest, parse_request

GOOD = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
}


def chat_request(**fields: object) -> ChatRequest:
    """A valid request; fields given replace or join the least one."""
    return parse_request({"model": "asked", "messages": [{"role": "user", "content": "hi"}], **fields})


def http_answer(body: bytes | dict[str, object], *, status: int = 200, headers: str = "") -> bytes:
    """A complete HTTP answer with its length."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    return head.encode() + content


GOOD_ANSWER = http_answer(GOOD)


@dataclass
class Conversation:
    """One request as it arrived, and the connection to answer on."""

    head: str
    body: bytes
    writer: asyncio.StreamWriter
    position: int
    """How many requests came on this connection before."""

    def header(self, name: str) -> str | None:
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name.lower():
                return value
        return None

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Conversation], Awaitable[None]]


@dataclass
class Loopback:
    """A running server and what it has seen."""

    url: str = ""
    connections: int = 0
    open_connections: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client has closed a connection."""
    seen: list[Conversation] = field(default_factory=list)


@contextlib.asynccontextmanager
async def running(script: Script) -> AsyncIterator[Loopback]:
    """Run `script` for each request that arrives, until the block ends."""
    loopback = Loopback()
    open_writers: set[asyncio.StreamWriter] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loopback.connections += 1
        loopback.open_connections += 1
        open_writers.add(writer)
        position = 0
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                conversation = Conversation(head, await reader.readexactly(length), writer, position)
                loopback.seen.append(conversation)
                await script(conversation)
                position += 1
        loopback.open_connections -= 1
        loopback.hung_up.set()
        writer.close()
        open_writers.discard(writer)

    server = await asyncio.start_server(converse, "127.0.0.1", 0, limit=1 << 24, backlog=1024)
    host, port = server.sockets[0].getsockname()
    loopback.url = f"http://{host}:{port}"
    try:
        yield loopback
    finally:
        server.close()
        for writer in open_writers:
            writer.transport.abort()
        await server.wait_closed()
