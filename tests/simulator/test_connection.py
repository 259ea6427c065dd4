"""HTTP on the connection: order, reuse, framing, broken input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import orjson

from simulator import request_digest
from simulator.protocol import MAX_BODY_BYTES
from tests.simulator.calls import answer_text
from tests.simulator.conftest import StartSimulator

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Streams]:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()


def request_bytes(model: str, user: str, *, extra: str = "") -> bytes:
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": user}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


async def read_text(reader: asyncio.StreamReader) -> str:
    """The generated text of the next reply."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return answer_text("openai", orjson.loads(await reader.readexactly(length)))


async def test_pipelined_requests_are_answered_in_order(start: StartSimulator) -> None:
    """A slow first request holds back the fast ones behind it."""
    simulator = await start()
    models = ["sim-latency-0.05", "m", "sim-latency-0.01", *["m"] * 100]
    async with connect(simulator.url) as (reader, writer):
        writer.write(b"".join(request_bytes(model, str(place)) for place, model in enumerate(models)))
        texts = [await read_text(reader) for _ in models]
    expected = [request_digest(model, str(place)) for place, model in enumerate(models)]
    assert [text.split()[1] for text in texts] == expected


async def test_request_may_arrive_byte_by_byte(start: StartSimulator) -> None:
    """Nothing depends on how the bytes are cut."""
    simulator = await start()
    async with connect(simulator.url) as (reader, writer):
        for byte in request_bytes("m", "hi"):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await read_text(reader)).startswith("echo ")


async def test_chunked_request_body_is_accepted(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """A body without Content-Length is put together again."""
    simulator = await start()

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"model":"m","messages":[{"role":"user",', b'"content":"hi"}]}'):
            yield piece

    response = await client.post(f"{simulator.url}/v1/chat/completions", content=pieces())
    assert answer_text("openai", response.json()).split()[1] == request_digest("m", "hi")


async def test_connection_is_kept_for_next_call(start: StartSimulator) -> None:
    """Two calls, one after the other, on one connection."""
    simulator = await start()
    async with connect(simulator.url) as (reader, writer):
        for user in ("a", "b"):
            writer.write(request_bytes("m", user))
            assert (await read_text(reader)).split()[1] == request_digest("m", user)


async def test_connection_closes_when_asked_to(start: StartSimulator) -> None:
    """`Connection: close` is obeyed after the whole answer."""
    simulator = await start()
    async with connect(simulator.url) as (reader, writer):
        writer.write(request_bytes("m", "hi", extra="connection: close\r\n"))
        reply = await reader.read()
    assert b"connection: close" in reply
    assert b'"chat.completion"' in reply


async def test_nonsense_gets_400_and_close(start: StartSimulator) -> None:
    """What is not HTTP is refused, and the next client is served."""
    simulator = await start()
    async with connect(simulator.url) as (reader, writer):
        writer.write(b"this is no HTTP\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    async with connect(simulator.url) as (reader, writer):
        writer.write(request_bytes("m", "hi"))
        assert await read_text(reader)


async def test_body_above_limit_gets_413(start: StartSimulator) -> None:
    """A request body cannot take all memory, and is refused before it is sent."""
    simulator = await start()
    async with connect(simulator.url) as (reader, writer):
        head = f"POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BODY_BYTES + 1}\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")


async def test_many_connections_are_served_at_once(start: StartSimulator) -> None:
    """Every connection waits its own latency beside the others."""
    simulator = await start()

    async def call(number: int) -> str:
        async with connect(simulator.url) as (reader, writer):
            writer.write(request_bytes("sim-latency-0.3", str(number)))
            return await read_text(reader)

    texts = await asyncio.gather(*(call(number) for number in range(300)))
    assert [text.split()[1] for text in texts] == [
        request_digest("sim-latency-0.3", str(n)) for n in range(300)
    ]


async def test_slow_reader_does_not_fill_memory(start: StartSimulator) -> None:
    """A client that reads nothing stops the sending of an oversized body."""
    simulator = await start(oversize_bytes=500_000_000)
    async with connect(simulator.url) as (reader, writer):
        writer.write(request_bytes("sim-fault-oversize", "hi"))
        await reader.readuntil(b"\r\n\r\n")
    await simulator.stop()
    assert 0 < simulator.calls[0].sent_bytes < 100_000_000
