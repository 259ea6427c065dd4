"""The API server: uvicorn with the application, in one process.

uvicorn and granian (2.8) with this application, each pinned to a core, 32 connections, requests per second of CPU,
three runs each: GET /health 20,100 to 23,800 and 24,200 to 27,900; POST of 1 kB of JSON 9,500 to 13,100 and 9,400
to 9,900. Where there is a body uvicorn is no slower, and it lets us bound heads and connections, and end calls.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from functools import partial
from typing import Any

import uvicorn

from producer.api.app import create_app
from producer.api.listening import BACKLOG, address_of, check_bind
from producer.api.middleware import Around
from producer.api.protocol import BoundedProtocol
from shared.background import end_tasks
from shared.garbage_collector import calm_collector
from shared.parent import until_gone
from shared.providers import ProviderRegistry
from shared.settings import Settings
from shared.store.tokens import TokenStore

try:
    import uvloop
except ImportError:  # none for this platform: the standard loop does the same, slower
    uvloop = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 75
"""How long an idle connection is kept: longer than clients and proxies keep theirs, so that they close it."""

NET_S = 5.0
"""How much longer than its grace a call may take to end when it is told to; then it is cancelled."""

PARENT_LOOK_S = 1.0


def serve(
    settings: Settings, registry: ProviderRegistry, listener: socket.socket, *, parent: int | None = None
) -> None:
    """Serve on a listening socket until SIGINT or SIGTERM; a second one ends at once.

    Calls in flight have `[api] grace_s` to end; who then still waits is told to ask again, streams are cut.

    Args:
        parent: Stop when this process, which started this one, is gone.

    Raises:
        ConfigError: Other machines reach the address, and there is no token.
        StoreUnavailable, StoreUnsuitable: As `Producer.open`.
    """
    # One connection needs one descriptor, and the soft limit is often 1024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        runner.run(_serve(settings, registry, listener, parent))


async def _serve(
    settings: Settings, registry: ProviderRegistry, listener: socket.socket, parent: int | None
) -> None:
    app = create_app(settings, registry)
    async with app.connected() as services:
        await check_bind(settings, TokenStore(services.store))
        for warning in services.producer.warnings:
            log.warning("%s", warning)
        server = ApiServer(app, settings)
        calm_collector()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        watch = asyncio.create_task(_follow(parent, server)) if parent is not None else None
        log.info("serving at http://%s/v1", address_of(listener))
        try:
            await server.serve(sockets=[listener])
        finally:
            if watch is not None:
                await end_tasks(watch)
    log.info("the server is done")


class ApiServer(uvicorn.Server):
    """uvicorn's server without its own signal handling, which would end the process before it has tidied up."""

    def __init__(self, app: Around, settings: Settings) -> None:
        protocol: Any = partial(BoundedProtocol, max_connections=settings.api.max_connections)
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=protocol,
                ws="none",
                lifespan="off",
                backlog=BACKLOG,
                log_config=None,
                log_level="error",  # what callers do wrong is no news
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(settings.api.grace_s + NET_S),
            )
        )
        self._app = app
        self._grace_s = settings.api.grace_s

    def stop(self) -> None:
        """Stop; called again, at once."""
        if self.should_exit:
            self.force_exit = True
            self._app.end_calls()
        else:
            log.info("asked to stop: calls have %g s to end", self._grace_s)
        self.should_exit = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `stop`."""
        await self._serve(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, and wait for the calls in flight as long as their grace lasts."""
        ending = asyncio.get_running_loop().call_later(self._grace_s, self._app.end_calls)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()


async def _follow(parent: int, server: ApiServer) -> None:
    await until_gone(parent)
    log.warning("the process that started this one is gone: stopping")
    server.stop()
