"""Connections to Redis: URLs, clients, and whether the server can be trusted with jobs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.connection import BlockingConnectionPool
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from shared.errors import ConfigError, StoreUnsuitable
from shared.settings import RedisSettings
from shared.store.connection import DirectConnection
from shared.store.pipe import Pipe
from shared.store.round_trips import RoundTrips
from shared.store.scripts import ScriptRunner, load, script_names, translate

OLDEST_SERVER = (6, 2)
"""LMOVE, LPOP with a count and ZMSCORE came with 6.2."""

MAX_CONNECTIONS = 32
"""A process's connections to Redis; calls beyond that take turns."""

SENTINEL_CONNECTIONS = 10_000
"""The pool behind Sentinel cannot wait for a connection, it would fail instead."""

OPENING_TRIES = 3
"""A connection may break while the server is looked at; where nobody listens, trying again takes no time."""

_DRIVER = DriverInfo()
"""What connections say of the library. Each would read it from disk by itself, also when no file may be opened."""

_SCHEME = re.compile(r"[a-z+]+:/*")

_SENTINEL = re.compile(r"(?:rediss?\+)?sentinels?://")


@dataclass(frozen=True, slots=True)
class Server:
    """What matters of a Redis server.

    Attributes:
        version: As the scripts see it; Valkey reports the Redis version it is compatible with.
        warnings: One line each, for the operator.
    """

    version: tuple[int, ...]
    warnings: tuple[str, ...]

    @property
    def has_script_flags(self) -> bool:
        """Whether scripts may start with `#!lua flags=…` (Redis 7.0)."""
        return self.version >= (7,)


class Store:
    """One process's asyncio access to the store: scripts, commands, server facts. Close it when done.

    Attributes:
        run: Runs scripts.
        send: Makes the round trips that every job needs.
        client: For everything else.
    """

    def __init__(
        self, url: str, client: redis.asyncio.Redis, server: Server, settings: RedisSettings
    ) -> None:
        self.url = url
        self.client = client
        self.server = server
        self.settings = settings
        self._trips = async_client(url, settings)
        self.send = RoundTrips(self._trips, timeout_s=settings.socket_timeout_s, most=MAX_CONNECTIONS)
        self.run = ScriptRunner(self.send, with_flags=server.has_script_flags, retry_s=settings.retry_s)

    @classmethod
    async def open(cls, url: str, settings: RedisSettings) -> Store:
        """Connect and inspect the server.

        Raises:
            ConfigError: The URL is malformed.
            StoreUnavailable: Nothing answers there.
            StoreUnsuitable: The server would lose jobs.
        """
        client = async_client(url, settings)
        try:
            server = await _inspect(client)
            for name in script_names():  # from disk now: later there may be no file descriptor left
                load(name, with_flags=server.has_script_flags)
        except RedisError as exc:
            await close_client(client)
            raise translate(exc) from exc
        except StoreUnsuitable:
            await close_client(client)
            raise
        return cls(url, client, server, settings)

    @asynccontextmanager
    async def pipe(
        self, *, on_reply: Callable[[Any], None], on_lost: Callable[[ConnectionError], None]
    ) -> AsyncIterator[Pipe]:
        """A connection of its own, to subscribe on (arguments: see `Pipe`)."""
        client = async_client(self.url, self.settings)
        try:
            pipe = await Pipe.open(client.connection_pool, on_reply=on_reply, on_lost=on_lost)
            try:
                yield pipe
            finally:
                await pipe.close()
        finally:
            await close_client(client)

    async def close(self) -> None:
        """Close the connections."""
        await self.send.close()
        await close_client(self._trips)
        await close_client(self.client)


async def close_client(client: redis.asyncio.Redis) -> None:
    """Close a client and, where it was found through Sentinel, the connections to the sentinels."""
    await client.aclose()
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    for sentinel in manager.sentinels if manager is not None else ():
        await sentinel.aclose()


def async_client(url: str, settings: RedisSettings) -> redis.asyncio.Redis:
    """An asyncio client that never retries by itself (scripts.py is the retry layer)."""
    options: dict[str, Any] = {
        "socket_timeout": settings.socket_timeout_s,
        "socket_connect_timeout": settings.connect_timeout_s,
        "retry": redis.asyncio.retry.Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": _DRIVER,
    }
    if _SENTINEL.match(url):
        nodes, service, extra = _parse_sentinel(url)
        options["max_connections"] = SENTINEL_CONNECTIONS
        sentinel = redis.asyncio.sentinel.Sentinel(nodes, **options)  # type: ignore[no-untyped-call]
        client = cast(redis.asyncio.Redis, sentinel.master_for(service, **options, **extra))
    else:
        _check_scheme(url)
        try:
            # Blocking: the thousand and first caller waits for a connection instead of failing.
            waiting = BlockingConnectionPool.from_url(
                url, max_connections=MAX_CONNECTIONS, timeout=None, **options
            )
        except ValueError:
            raise _unreadable(url) from None
        client = redis.asyncio.Redis.from_pool(waiting)
    pool = client.connection_pool
    pool.connection_class = DirectConnection.kind_of(pool.connection_class)
    return client


def sync_client(url: str, settings: RedisSettings) -> redis.Redis:
    """A synchronous client for a thread of its own (the heartbeat). Never retries by itself."""
    options: dict[str, Any] = {
        "socket_timeout": settings.socket_timeout_s,
        "socket_connect_timeout": settings.connect_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": _DRIVER,
    }
    if _SENTINEL.match(url):
        nodes, service, extra = _parse_sentinel(url)
        sentinel = redis.sentinel.Sentinel(nodes, **options)  # type: ignore[no-untyped-call]
        return cast(redis.Redis, sentinel.master_for(service, **options, **extra))  # type: ignore[no-untyped-call]
    _check_scheme(url)
    try:
        return redis.Redis.from_url(url, **options)
    except ValueError:
        raise _unreadable(url) from None


def _unreadable(url: str) -> ConfigError:
    # Without the library's own words: they quote a part of the address, which may be of the password.
    return ConfigError(
        f"redis url {_masked(url)}: a part of it cannot be read; in a user or password write %2F for /, "
        "%40 for @, %3A for :, %23 for # and %3F for ?"
    )


def _check_scheme(url: str) -> None:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ConfigError(
            f"redis url {_masked(url)}: start it with redis://, rediss://, unix:// or sentinel://host:port,…/service"
        )


def _parse_sentinel(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """`sentinel://[user:password@]host[:26379],host…/service[/db]` as nodes, service name, client options."""
    rest = url[_SENTINEL.match(url).end() :]  # type: ignore[union-attr]  # the callers have matched
    credentials, _, address = rest.rpartition("@")
    hosts, _, path = address.partition("/")
    service, _, db = path.partition("/")
    if not hosts or not service:
        raise ConfigError(f"redis url {_masked(url)}: write sentinel://host:port,host:port/service-name[/db]")
    try:
        nodes = [
            (h.rpartition(":")[0] or h, int(h.rpartition(":")[2]) if ":" in h else 26379)
            for h in hosts.split(",")
        ]
        extra: dict[str, Any] = {"db": int(db or 0)}
        if url.startswith(("rediss", "sentinels")):
            extra["ssl"] = True
    except ValueError:
        raise ConfigError(f"redis url {_masked(url)}: a port or database is not a number") from None
    user, _, password = credentials.partition(":")
    if credentials:
        extra |= {"username": unquote(user) or None, "password": unquote(password)}
    return nodes, service, extra


def _masked(url: str) -> str:
    """The URL without user, password and query, however badly it is written."""
    scheme = _SCHEME.match(url)
    before, at, address = url.rpartition("@")
    if "?" in before:
        address = ""  # what follows the @ may be the end of a password, in the query or before the host
    shown = address.partition("?")[0]
    return f"{scheme.group() if scheme else ''}***@{shown}" if at else shown


async def _inspect(client: redis.asyncio.Redis) -> Server:
    """What the server says of itself; one that may not be asked (ACL, fakeredis) is treated as the oldest."""
    try:
        return _judge(await again(client.info))
    except ResponseError as exc:
        if not isinstance(exc, NoPermissionError) and "unknown command" not in str(exc):
            raise
        return Server(OLDEST_SERVER, ("Redis does not answer INFO: its eviction policy cannot be checked",))


async def again(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until there is an answer, `OPENING_TRIES` times at the most: for what a process needs to start.

    Raises:
        RedisError: As the last time.
    """
    for _ in range(OPENING_TRIES - 1):
        with suppress(ConnectionError):
            return await ask()
    return await ask()


def _judge(info: dict[str, Any]) -> Server:
    """Refuse a server that would lose jobs; collect warnings about one that might."""
    numbers = [int(n) for n in re.findall(r"\d+", str(info["redis_version"]))]
    version = tuple(numbers[:3])
    if version < OLDEST_SERVER:
        raise StoreUnsuitable(
            f"Redis {info['redis_version']} is too old: chatq needs 6.2 or later, or Valkey"
        )
    warnings = []
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        if int(info.get("maxmemory", 0)) > 0:
            raise StoreUnsuitable(
                f"Redis has maxmemory-policy {policy}: it would delete jobs when full; set it to noeviction"
            )
        warnings.append(f"Redis has maxmemory-policy {policy}: set it to noeviction before you set maxmemory")
    if not int(info.get("aof_enabled", 1)):
        warnings.append(
            "Redis runs without AOF: a crash loses the jobs since its last snapshot; set appendonly yes"
        )
    return Server(version, tuple(warnings))
