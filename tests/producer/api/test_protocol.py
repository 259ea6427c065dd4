"""How an answer leaves: head and body together, a head alone without delay, and nothing out of order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from producer.api.protocol import BoundedProtocol


class Wire(asyncio.Transport):
    """A connection that remembers each packet."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []
        self._is_closing = False

    def write(self, data: Any) -> None:
        assert not self._is_closing
        self.packets.append(bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True

    def pause_reading(self) -> None:
        """Nobody sends more than it is told to."""

    def resume_reading(self) -> None:
        """See above."""


may_go_on = asyncio.Event()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path; `/stream` when it may go on, `/broken` not to its end."""

    async def pieces() -> AsyncIterator[bytes]:
        await may_go_on.wait()
        yield b"one"
        yield b"two"

    path = Request(scope, receive).url.path
    if path == "/broken":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("no body")
    response = StreamingResponse(pieces()) if path == "/stream" else Response(path)
    await response(scope, receive, send)


@pytest.fixture
async def wire() -> AsyncIterator[tuple[Wire, BoundedProtocol]]:
    may_go_on.clear()
    config = Config(app, lifespan="off", log_config=None, log_level="critical")
    config.load()
    protocol = BoundedProtocol(config, ServerState(), {}, max_connections=1)
    wire = Wire()
    protocol.connection_made(wire)
    yield wire, protocol
    protocol.connection_lost(None)


async def packets(wire: Wire, count: int) -> list[bytes]:
    async with asyncio.timeout(5):
        while len(wire.packets) < count:
            await asyncio.sleep(0)
    return wire.packets


async def test_head_and_body_leave_together(wire: tuple[Wire, BoundedProtocol]) -> None:
    wire[1].data_received(b"GET /a HTTP/1.1\r\n\r\n")
    (packet,) = await packets(wire[0], 1)
    assert packet.startswith(b"HTTP/1.1 200 OK\r\n")
    assert packet.endswith(b"\r\n\r\n/a")


async def test_head_of_a_stream_leaves_without_it(wire: tuple[Wire, BoundedProtocol]) -> None:
    wire[1].data_received(b"GET /stream HTTP/1.1\r\n\r\n")
    (packet,) = await packets(wire[0], 1)
    assert packet.endswith(b"\r\n\r\n")
    may_go_on.set()
    assert (await packets(wire[0], 4))[1:] == [b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"]


async def test_answers_to_several_calls_keep_their_order(wire: tuple[Wire, BoundedProtocol]) -> None:
    """Sent without waiting; an answer to HEAD has no body to go with."""
    calls = [b"HEAD /a", b"GET /b", b"HEAD /c", b"GET /d"]
    wire[1].data_received(b"".join(call + b" HTTP/1.1\r\n\r\n" for call in calls))
    ends = [packet.partition(b"\r\n\r\n")[2] for packet in await packets(wire[0], 4)]
    assert ends == [b"", b"/b", b"", b"/d"]


async def test_head_without_its_body_is_not_kept(wire: tuple[Wire, BoundedProtocol]) -> None:
    """The application broke between the two: what was said is said, and the connection ends."""
    wire[1].data_received(b"GET /broken HTTP/1.1\r\n\r\n")
    (packet,) = await packets(wire[0], 1)
    assert packet.startswith(b"HTTP/1.1 200 OK\r\n")
    assert wire[0].is_closing()
