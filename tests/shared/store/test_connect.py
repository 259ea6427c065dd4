"""Connections: every kind of URL, and servers that would lose jobs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
import redis.asyncio

from shared.errors import ConfigError, StoreError, StoreUnavailable, StoreUnsuitable
from shared.settings import RedisSettings
from shared.store.connect import OPENING_TRIES, Store, async_client, close_client, sync_client
from tests.shared.store.proxy import Proxy
from tests.support import SERVERS, RedisServer, no_file_left

SETTINGS = RedisSettings(retry_s=0.2, connect_timeout_s=1)


async def opened(url: str) -> Store:
    return await Store.open(url, SETTINGS)


async def test_evicting_server_is_refused(own_server: RedisServer) -> None:
    """It would delete jobs when it is full."""
    with own_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "100mb")
    with pytest.raises(StoreUnsuitable, match="set it to noeviction"):
        await opened(own_server.url)


async def test_unbounded_evicting_server_is_warned_about(own_server: RedisServer) -> None:
    """Without maxmemory nothing is evicted yet."""
    with own_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    store = await opened(own_server.url)
    assert any("noeviction" in warning for warning in store.server.warnings)
    await store.close()


async def test_server_without_aof_is_warned_about(own_server: RedisServer) -> None:
    """A crash would lose what was accepted since the last snapshot."""
    store = await opened(own_server.url)
    assert any("appendonly" in warning for warning in store.server.warnings)
    await store.close()


async def test_connection_that_breaks_while_opening_is_made_again(
    own_server: RedisServer, tmp_path: Path
) -> None:
    """Nobody need start a worker twice for that; a server that always hangs up is said."""
    async with Proxy(tmp_path, own_server.socket).running() as proxy:
        proxy.refuses = OPENING_TRIES - 1
        store = await opened(proxy.url)
        assert await store.client.ping()
        await store.close()
        proxy.refuses = OPENING_TRIES
        with pytest.raises(StoreUnavailable):
            await opened(proxy.url)


async def test_old_server_is_refused(own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """6.2 is the oldest that has what the scripts use; older binaries are not at hand, so its INFO is played."""

    async def info(self: object, *sections: str) -> dict[str, object]:
        return {"redis_version": "6.0.20"}

    monkeypatch.setattr(redis.asyncio.Redis, "info", info)
    with pytest.raises(StoreUnsuitable, match=r"6\.0\.20 is too old"):
        await opened(own_server.url)


async def test_silent_address_is_unavailable(tmp_path: Path, port: int) -> None:
    """The message says what to check."""
    with pytest.raises(StoreUnavailable, match="CHATQ_REDIS_URL"):
        await opened(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(StoreUnavailable):
        await opened(f"unix://{tmp_path / 'nobody.sock'}")


async def test_wrong_password_is_told(own_server: RedisServer) -> None:
    """An authentication error is an error of its own, and shows no password."""
    with own_server.client() as client:
        client.config_set("requirepass", "right")
    with pytest.raises(StoreError) as caught:
        await opened(f"{own_server.url}?password=wrong")
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")


@pytest.mark.parametrize("url", ["http://x", "redis//x", "sentinel://h:1", "sentinel://h:x/s"])
def test_malformed_url_is_explained(url: str) -> None:
    """The error names the URL without its password and says how to write it."""
    with pytest.raises(ConfigError, match="redis url"):
        async_client(url, SETTINGS)


@pytest.mark.parametrize("connect", [async_client, sync_client])
@pytest.mark.parametrize(
    "url",
    [
        "redis://:sec/ret@host:6379/0",
        "redis://:sec?ret@host:6379/0",
        "redis://user:sec#ret@host:6379/0",
        "redis://:sec@ret@host:x/0",
        "redis://host:x/0?password=secret",
        "redis://host:x/0?password=sec@ret",
        "redis:/:secret@host",
        ":secret@host",
        "sentinel://:secret@h:x/s",
        "sentinel://:sec/ret@h:1",
    ],
)
def test_malformed_url_shows_no_password(url: str, connect: Callable[..., object]) -> None:
    """Neither we nor the library quote any part of it, on both kinds of client."""
    with pytest.raises(ConfigError, match="redis url") as caught:
        connect(url, SETTINGS)
    assert "sec" not in str(caught.value)
    assert "ret@" not in str(caught.value)
    assert "@ret" not in str(caught.value)


def test_tls_url_makes_tls_connections() -> None:
    """`rediss://` is TLS on both kinds of client."""
    asynchronous = async_client("rediss://h:1/0", SETTINGS).connection_pool.connection_class
    assert issubclass(asynchronous, redis.asyncio.SSLConnection)
    assert sync_client("rediss://h:1/0", SETTINGS).connection_pool.connection_class is redis.SSLConnection


async def test_tcp_url_with_database_works(tmp_path: Path, port: int) -> None:
    """Plain `redis://host:port/db`."""
    server = RedisServer(SERVERS[max(SERVERS)], tmp_path, port=str(port))
    server.start()
    store = await opened(f"redis://127.0.0.1:{port}/3")
    await store.client.set("k", "v")
    with redis.Redis(port=port, db=3, decode_responses=True, protocol=2) as client:
        assert client.get("k") == "v"
    await store.close()
    server.kill()


async def test_sentinel_url_finds_the_master(tmp_path: Path, port: int, other_port: int) -> None:
    """`sentinel://host:port/service`: a real sentinel, asynchronous and synchronous."""
    server = RedisServer(SERVERS[max(SERVERS)], tmp_path, port=str(port))
    server.start()
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {other_port}\nsentinel monitor main 127.0.0.1 {port} 1\ndir {tmp_path}\n")
    sentinel = subprocess.Popen([SERVERS[max(SERVERS)], str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    url = f"sentinel://127.0.0.1:{other_port}/main"
    try:
        until = time.monotonic() + 10
        while True:
            try:
                store = await opened(url)
                break
            except StoreUnavailable:
                assert time.monotonic() < until
        assert await store.client.ping()
        await store.close()
        with sync_client(url, SETTINGS) as client:
            assert client.ping()
    finally:
        sentinel.kill()
        sentinel.wait()
        server.kill()


@pytest.mark.parametrize("url", ["unix:///nowhere", "redis://127.0.0.1:1", "sentinel://127.0.0.1:1/main"])
async def test_missing_file_descriptor_is_no_connection(url: str) -> None:
    """What cannot be opened is Redis out of reach, for a moment: everybody asks again instead of ending."""
    asynchronous, synchronous = async_client(url, SETTINGS), sync_client(url, SETTINGS)
    with no_file_left():
        with pytest.raises(redis.ConnectionError):
            await asynchronous.ping()
        with pytest.raises(redis.ConnectionError):
            synchronous.ping()
    synchronous.close()
    await close_client(asynchronous)


async def test_inspection_may_be_forbidden(own_server: RedisServer) -> None:
    """A managed server whose ACL denies INFO works, with a warning."""
    with own_server.client() as client:
        client.acl_setuser(
            "app", enabled=True, nopass=True, keys="*", channels="*", commands=["+@all", "-info"]
        )
    store = await opened(f"{own_server.url}?username=app&password=any")
    assert any("INFO" in warning for warning in store.server.warnings)
    await store.close()
