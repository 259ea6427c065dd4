"""The HTTP API as its callers see it: uvicorn with the real application, in the test's own loop, on a free port.

- `api`: an `httpx.AsyncClient` of a running server, with `base_url` at its `/v1`. Its providers are all the test's
  `simulator`; nothing runs jobs unless the test asks for a `worker` (a real process) or is one (`hand`).
- `serve_api(settings, registry)` and `serve(**env)`: more servers, or one with other settings (variables, as
  `CHATQ_API__BIND`): `async with serve(CHATQ_AUTH__TOKEN="t") as client:`.
- `hand`: claims and ends jobs by hand, for tests that need to say when.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from starlette.types import ASGIApp

from producer.api.app import create_app
from producer.api.listening import address_of, open_sockets
from producer.api.server import ApiServer
from shared.job import EXPIRED, JobError, Lane
from shared.providers import ProviderRegistry
from shared.settings import Settings
from shared.store.connect import Store
from shared.store.grants import Grant, GrantStore, Load, Outcome, Release
from simulator import Simulator
from tests.conftest import MakeSettings
from tests.support import KEYS, WorkerRunner, wait_until

CHAT = {"model": "ollama/m", "messages": [{"role": "user", "content": "hi"}]}
"""A chat request that `hand` can claim, and that the simulator answers."""

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: they are pytest's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve_api(settings: Settings, registry: ProviderRegistry) -> AsyncIterator[str]:
    """Run the server that `chatq api` runs on a free port; yields its address, without `/v1`."""
    app = create_app(settings, registry)
    async with app.connected(), _running(ApiServer(app, settings)) as url:
        yield url


@asynccontextmanager
async def serve_app(app: ASGIApp) -> AsyncIterator[str]:
    """Run any application on a free port; yields its address."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    async with _running(_Server(config)) as url:
        yield url


@asynccontextmanager
async def _running(server: uvicorn.Server) -> AsyncIterator[str]:
    (listening,) = open_sockets("127.0.0.1:0", 1)
    with listening:
        running = asyncio.create_task(server.serve(sockets=[listening]))
        await wait_until(lambda: server.started or running.done())
        try:
            yield f"http://{address_of(listening)}"
        finally:
            server.should_exit = True
            await running


@pytest.fixture
def serve(make_settings: MakeSettings, simulator: Simulator) -> Serve:
    """Starts a server with further settings; yields its client, which follows no redirects."""

    @asynccontextmanager
    async def start(**env: str) -> AsyncIterator[httpx.AsyncClient]:
        settings = make_settings(simulator.url, **env)
        registry = ProviderRegistry.from_settings(settings, env=KEYS)
        async with (
            serve_api(settings, registry) as url,
            httpx.AsyncClient(base_url=f"{url}/v1", timeout=30, trust_env=False, verify=False) as client,
        ):
            yield client

    return start


@pytest.fixture
async def api(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running server with the defaults."""
    async with serve() as client:
        yield client


@pytest.fixture
def worker(workers: WorkerRunner) -> subprocess.Popen[bytes]:
    """A worker process that runs what is submitted."""
    return workers.start()


class Hand:
    """A worker by hand: jobs of one provider are claimed and ended when the test says so."""

    def __init__(self, store: Store, provider: str) -> None:
        self._provider = provider
        self._claims = 0
        self._grants = GrantStore(
            store,
            worker="by-hand",
            lease_s=30,
            max_data_bytes=10_000_000,
            mirror="light",
            lanes={Lane.INTERACTIVE: 70, Lane.DEFAULT: 25, Lane.BATCH: 5},
            max_events=100,
            expired_error=EXPIRED.as_json(),
        )

    async def claim(self, want: int = 1) -> list[Grant]:
        """Start jobs: they are `in_progress`."""
        self._claims += 1
        claimed = await self._grants.claim(nonce=f"n{self._claims}", want=want, load={self._provider: Load()})
        return claimed.grants

    async def answer(self, grant: Grant, text: str = "hello", **fields: Any) -> None:
        """End a job well, with a ChatCompletion."""
        message = {"role": "assistant", "content": text}
        completion = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            "chatq": {"provider": self._provider, "upstream_model": "m", "latency_s": 0.1, "usage": {}},
            **fields,
        }
        await self._end(Outcome(grant, "completed", orjson.dumps(completion), b"{}", b"{}", b""))

    async def fail(self, grant: Grant, error: JobError) -> None:
        """End a job without an answer."""
        await self._end(Outcome(grant, "failed", error.as_json(), b"{}", b"{}", b""))

    async def _end(self, outcome: Outcome) -> None:
        assert await self._grants.finalize([outcome], retry_s=5) == ["ok"]

    async def back_off(self, grant: Grant, *, delay_ms: int) -> None:
        """Give a job back to be tried again later."""
        await self._grants.release([Release(grant, "backoff", delay_ms, False, b"", b"", b"")], retry_s=5)


@pytest.fixture
def hand(store: Store) -> Hand:
    """Claims and ends jobs of `CHAT`'s provider."""
    return Hand(store, "ollama")
