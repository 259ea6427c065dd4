"""Signals: live when started, healed when the connection dies, and never silent about it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shared.settings import RedisSettings
from shared.store.connect import Store
from shared.store.signals import Signals
from tests.shared.store.proxy import Proxy
from tests.support import RedisServer, wait_until


class Listener:
    """Signals of one channel, with what they reported."""

    def __init__(self, store: Store, *, listen_s: float = 15.0) -> None:
        self.messages: list[bytes] = []
        self.gaps = 0
        self.signals = Signals(
            store,
            ["one", "two"],
            on_message=lambda channel, data: self.messages.append(data),
            on_gap=self._gap,
            listen_s=listen_s,
        )

    def _gap(self) -> None:
        self.gaps += 1


async def opened(url: str) -> Store:
    return await Store.open(url, RedisSettings(url=url, connect_timeout_s=1))


async def test_started_signals_are_live(any_redis_url: str, any_redis_server: RedisServer) -> None:
    """What is published after the start arrives: the server has confirmed every channel."""
    store = await opened(any_redis_url)
    listener = Listener(store)
    await listener.signals.start()
    with any_redis_server.client() as raw:
        assert [raw.publish("one", "a"), raw.publish("two", "b")] == [1, 1]
    await wait_until(lambda: listener.messages == [b"a", b"b"])
    await listener.signals.stop()
    await store.close()


async def test_silent_connection_is_replaced(any_redis_server: RedisServer, tmp_path: Path) -> None:
    """A peer that is gone without a word is noticed: no reply to a PING in time."""
    async with Proxy(tmp_path, any_redis_server.socket).running() as proxy:
        store = await opened(proxy.url)
        listener = Listener(store, listen_s=0.1)
        await listener.signals.start()
        proxy.fall_silent()
        await wait_until(lambda: listener.gaps == 2)
        with any_redis_server.client() as raw:
            raw.publish("one", "again")
        await wait_until(lambda: listener.messages == [b"again"])
        await listener.signals.stop()
        await store.close()


async def stays_subscribed(url: str, server: RedisServer, *, listen_s: float) -> None:
    """Over several silences, each ended by the answer to a PING."""
    store = await opened(url)
    listener = Listener(store, listen_s=listen_s)
    with server.client() as raw:

        def pings() -> int:
            return int(raw.info("commandstats").get("cmdstat_ping", {}).get("calls", 0))

        before = pings()
        await listener.signals.start()
        await wait_until(lambda: pings() > before + 5)
    assert listener.gaps == 1
    await listener.signals.stop()
    await store.close()


async def test_quiet_connection_is_kept(any_redis_url: str, any_redis_server: RedisServer) -> None:
    """A server that answers PING is alive, however little it has to say."""
    await stays_subscribed(any_redis_url, any_redis_server, listen_s=0.02)


async def test_coarse_clock_is_no_silence(
    any_redis_url: str, any_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop's clock has whole milliseconds: an answer may come at the very time of its question."""
    loop = asyncio.get_running_loop()
    fine = loop.time
    monkeypatch.setattr(loop, "time", lambda: fine() // 0.05 * 0.05)
    await stays_subscribed(any_redis_url, any_redis_server, listen_s=0.1)


async def test_cancelled_start_subscribes_once(own_server: RedisServer) -> None:
    """The first start's task goes on and serves the second; `stop` ends it."""
    store = await opened(own_server.url)
    own_server.kill()
    listener = Listener(store)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await listener.signals.start()
    own_server.start()
    await listener.signals.start()
    assert [task.get_name() for task in asyncio.all_tasks()].count("signals") == 1
    with own_server.client() as raw:
        assert len(raw.client_list(_type="pubsub")) == 1
        await listener.signals.stop()
        await wait_until(lambda: not raw.client_list(_type="pubsub"))
    await store.close()


async def test_refused_subscription_is_told_once(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An ACL without SUBSCRIBE leaves the slow polls: the start does not wait, the log says why, once."""
    with own_server.client() as raw:
        raw.acl_setuser(
            "app", enabled=True, nopass=True, keys="*", channels="*", commands=["+@all", "-subscribe"]
        )
        store = await opened(f"{own_server.url}?username=app&password=any")
        listener = Listener(store)
        await listener.signals.start()
        await wait_until(lambda: raw.info("commandstats")["cmdstat_subscribe"]["rejected_calls"] >= 2)
    await listener.signals.stop()
    await store.close()
    assert [r.levelname for r in caplog.records if r.name == "shared.store.signals"] == ["WARNING"]
    assert listener.gaps == 0
