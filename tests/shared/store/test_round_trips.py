"""Round trips: each caller gets its own replies, whatever becomes of the connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from shared.errors import StoreError
from shared.settings import RedisSettings
from shared.store.connect import async_client, close_client
from shared.store.round_trips import RoundTrips
from tests.shared.store.proxy import Proxy
from tests.support import RedisServer

SETTINGS = RedisSettings(connect_timeout_s=1)


class Opened:
    """Round trips to a server, and what is needed to close them."""

    def __init__(self, url: str, *, timeout_s: float = 20, most: int = 4) -> None:
        self._client = async_client(url, SETTINGS)
        self.send = RoundTrips(self._client, timeout_s=timeout_s, most=most)

    async def close(self) -> None:
        await self.send.close()
        await close_client(self._client)


@pytest.fixture
async def send(redis_url: str) -> AsyncIterator[RoundTrips]:
    opened = Opened(redis_url)
    yield opened.send
    await opened.close()


async def test_replies_come_in_order(send: RoundTrips) -> None:
    replies = await send(("ECHO", "a"), ("STRLEN", "none"), ("GET", "none"), ("ECHO", b"\xff\r\n"))
    assert replies == [b"a", 0, None, b"\xff\r\n"]


async def test_error_reply_costs_its_neighbours_nothing(send: RoundTrips) -> None:
    first, second = await send(("NONSENSE",), ("ECHO", "b"))
    assert isinstance(first, ResponseError)
    assert second == b"b"
    assert await send(("ECHO", "c")) == [b"c"]


async def test_nothing_asked_is_nothing_answered(send: RoundTrips) -> None:
    assert await send() == []


async def test_many_callers_take_turns(send: RoundTrips, redis_server: RedisServer) -> None:
    """Each gets its own reply, over no more connections than allowed."""
    replies = await asyncio.gather(*(send(("ECHO", str(n)), ("CLIENT", "ID")) for n in range(200)))
    assert [echo for echo, _ in replies] == [str(n).encode() for n in range(200)]
    assert len({number for _, number in replies}) <= 4


async def test_idle_connection_that_was_closed_is_replaced(
    send: RoundTrips, redis_server: RedisServer
) -> None:
    (before,) = await send(("CLIENT", "ID"))
    with redis_server.client() as raw:
        raw.client_kill_filter(_id=before)
    for _ in range(3):  # it is closed by now, and the loop hears of that when it has a turn
        await asyncio.sleep(0)
    (after,) = await send(("CLIENT", "ID"))
    assert after != before


async def test_cancelled_trip_leaves_nothing_behind(send: RoundTrips, redis_server: RedisServer) -> None:
    """Its reply, which comes later, is nobody else's."""
    waiting = asyncio.create_task(send(("BLPOP", "list", 0)))
    with redis_server.client() as raw:
        while not raw.info("clients")["blocked_clients"]:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        raw.rpush("list", "late")
        assert await send(("ECHO", "mine")) == [b"mine"]
        assert raw.lrange("list", 0, -1) == ["late"]
        raw.delete("list")


async def test_connection_lost_in_a_trip_is_said(send: RoundTrips, redis_server: RedisServer) -> None:
    waiting = asyncio.create_task(send(("BLPOP", "list", 0)))
    with redis_server.client() as raw:
        while not raw.info("clients")["blocked_clients"]:
            await asyncio.sleep(0)
        (client,) = [one for one in raw.client_list() if one["cmd"] == "blpop"]
        raw.client_kill_filter(_id=client["id"])
    with pytest.raises(ConnectionError, match="lost"):
        await waiting
    assert await send(("ECHO", "a")) == [b"a"]


async def test_silent_server_is_not_waited_for(redis_server: RedisServer, tmp_path: Path) -> None:
    """The trip ends in time, and the next one has a connection of its own."""
    async with Proxy(tmp_path, redis_server.socket).running() as proxy:
        opened = Opened(proxy.url, timeout_s=0.1)
        await opened.send(("ECHO", "a"))
        proxy.fall_silent()
        with pytest.raises(TimeoutError, match=r"no reply within 0\.1 s"):
            await opened.send(("ECHO", "b"))
        await opened.close()


async def test_nobody_there_is_said(tmp_path: Path) -> None:
    opened = Opened(f"unix://{tmp_path}/none.sock")
    with pytest.raises(ConnectionError):
        await opened.send(("PING",))
    await opened.close()


async def test_closing_lets_trips_under_way_end(redis_server: RedisServer) -> None:
    """Those that took turns for a connection, and all later ones, are refused: nobody would close theirs."""
    opened = Opened(redis_server.url, most=1)
    under_way = asyncio.create_task(opened.send(("BLPOP", "list", 0)))
    with redis_server.client() as raw:
        while not raw.info("clients")["blocked_clients"]:
            await asyncio.sleep(0)
        in_turn = asyncio.create_task(opened.send(("ECHO", "a")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(opened.close())
        await asyncio.sleep(0)
        raw.rpush("list", "one")
        assert await under_way == [[b"list", b"one"]]
    for late in (in_turn, opened.send(("ECHO", "b"))):
        with pytest.raises(StoreError, match="closed before"):
            await late
    await closing
    await opened.close()
