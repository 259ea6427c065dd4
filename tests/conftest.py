"""Fixtures for everyone: private Redis servers (every kind this machine has), settings, a producer, workers.

The servers are the ones the product itself may meet: the embedded extra's, and newer ones found on PATH. A suite
without any server fails; it does not skip.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from producer import Producer
from shared.providers import ProviderRegistry
from shared.settings import Settings, load_settings
from shared.store.connect import Store
from simulator import Simulator, SimulatorConfig
from tests.ports import reserved_port
from tests.support import KEYS, SERVERS, RedisServer, WorkerRunner, keys_without_end, provider_env


@pytest.fixture(scope="session", params=sorted(SERVERS), ids=str)
def any_redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """One server of each version; for what depends on the server."""
    yield from _running(SERVERS[request.param])


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server, the newest; for what does not depend on its version."""
    yield from _running(SERVERS[max(SERVERS)])


def _running(binary: str) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="chatq-test-") as folder:
        server = RedisServer(binary, Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may kill or spoil."""
    folder = tmp_path / "own"
    folder.mkdir()
    server = RedisServer(SERVERS[max(SERVERS)], folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """URL of an empty server; the test fails if it leaves a key that would stay for ever."""
    yield from _clean_url(redis_server)


@pytest.fixture
def any_redis_url(any_redis_server: RedisServer) -> Iterator[str]:
    """The same on each version of server."""
    yield from _clean_url(any_redis_server)


def _clean_url(server: RedisServer) -> Iterator[str]:
    server.look.flushall()
    yield server.url
    assert keys_without_end(server.look) == []


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As of a shell that started the suite in the background; commands under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)
"""No authority is known: reading all of them takes longer than most tests, and each client of HTTP does it anew."""

MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(redis_url: str, tmp_path: Path) -> MakeSettings:
    """Settings on the test server, with every built-in provider at a given base URL; more as env pairs."""

    def make(upstream_url: str = "http://127.0.0.1:9", **env: str) -> Settings:
        return load_settings(
            env={"HOME": str(tmp_path), **provider_env(upstream_url), "CHATQ_REDIS_URL": redis_url, **env}
        )

    return make


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A provider on loopback that speaks every wire."""
    async with Simulator(SimulatorConfig()) as running:
        yield running


@pytest.fixture
def workers(
    redis_url: str, redis_server: RedisServer, simulator: Simulator, tmp_path: Path
) -> Iterator[WorkerRunner]:
    """Starts real worker processes; kills what is left of them."""
    with redis_server.client() as client:
        runner = WorkerRunner(redis_url, simulator.url, tmp_path, client)
        yield runner
        runner.kill_all()


@pytest.fixture
def port() -> Iterator[int]:
    """For a server that must listen on TCP."""
    with reserved_port() as number:
        yield number


@pytest.fixture
def other_port() -> Iterator[int]:
    """For one more."""
    with reserved_port() as number:
        yield number


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    """Settings whose upstreams nobody answers at."""
    return make_settings()


@pytest.fixture
def registry(settings: Settings) -> ProviderRegistry:
    return ProviderRegistry.from_settings(settings, env=KEYS)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    opened = await Store.open(settings.redis.url, settings.redis)
    yield opened
    await opened.close()


@pytest.fixture
async def producer(settings: Settings, registry: ProviderRegistry) -> AsyncIterator[Producer]:
    async with Producer.open(settings, registry=registry) as opened:
        yield opened
