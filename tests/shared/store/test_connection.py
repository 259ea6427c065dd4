"""Connections: what a command's task is told reaches it, and what cannot be sent is said in time."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError, TimeoutError

from shared.settings import RedisSettings
from shared.store.connect import async_client, close_client
from shared.store.connection import DirectConnection
from tests.support import RedisServer

LARGE = b"x" * 8_000_000
"""More than a socket holds."""


@contextmanager
def halted(server: RedisServer) -> Iterator[None]:
    """A server that takes nothing in for a while."""
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = async_client(redis_url, RedisSettings())
    yield client
    await close_client(client)


async def pipelined(client: redis.asyncio.Redis) -> None:
    async with client.pipeline(transaction=True) as pipe:
        pipe.echo("a")
        await pipe.execute()


@pytest.mark.parametrize("ask", [redis.asyncio.Redis.time, pipelined])
async def test_no_cancellation_is_lost(client: redis.asyncio.Redis, ask: object) -> None:
    """Wherever it arrives. A background task that is cancelled once would go on for ever otherwise."""
    assert callable(ask)
    for steps in range(1, 100):
        asking = asyncio.ensure_future(ask(client))
        for _ in range(steps):
            await asyncio.sleep(0)
        if asking.done():
            break
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert steps > 1
    assert await client.echo("b") == b"b"  # type: ignore[no-untyped-call]


async def test_what_cannot_be_sent_is_said_in_time(own_server: RedisServer) -> None:
    client = async_client(own_server.url, RedisSettings(socket_timeout_s=0.1))
    await client.set("k", b"before")
    with halted(own_server), pytest.raises(TimeoutError, match=r"nothing could be sent within 0\.1 s"):
        await client.set("k", LARGE)
    assert await client.get("k") == b"before"
    await close_client(client)


async def test_server_that_dies_while_it_is_sent_to_is_said(own_server: RedisServer) -> None:
    client = async_client(own_server.url, RedisSettings())
    await client.ping()
    with halted(own_server):
        sending = asyncio.ensure_future(client.set("k", LARGE))
        await asyncio.sleep(0.05)
        own_server.kill()
        with pytest.raises(ConnectionError):
            await sending
        own_server.start()
    await close_client(client)


@pytest.mark.parametrize("url", ["unix:///s", "redis://h:1", "rediss://h:1", "sentinel://h:1/main"])
def test_every_way_to_redis_sends_so(url: str) -> None:
    connection_class = async_client(url, RedisSettings()).connection_pool.connection_class
    assert issubclass(connection_class, DirectConnection)
