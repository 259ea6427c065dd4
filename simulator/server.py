"""The simulator as an object: start it, talk to its URL, read its calls, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from types import TracebackType
from typing import Any

from simulator.calllog import CallRecord
from simulator.config import SimulatorConfig
from simulator.protocol import Connection
from simulator.provider import Provider
from simulator.routes import Router

_BACKLOG = 8192
"""Connections the kernel may hold for us; it caps this at `net.core.somaxconn`."""


class Simulator:
    """A local stand-in for LLM providers.

    Use it as an async context manager, or call `start` and `stop`. It runs in the current event loop.
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self._provider = Provider(config or SimulatorConfig())
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._url = ""

    @property
    def config(self) -> SimulatorConfig:
        """The settings in force."""
        return self._provider.config

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end; empty before the first start."""
        return self._url

    @property
    def calls(self) -> list[CallRecord]:
        """Records of ended chat calls, oldest first (the latest `log_ring` of them)."""
        return self._provider.log.records()

    async def start(self) -> None:
        """Listen. Raises this process's soft limit on open files to the hard one.

        Raises:
            OSError: The port is taken, or the log file cannot be opened.
        """
        _raise_file_limit()
        self._provider.log.open()
        config, router = self.config, Router(self._provider)
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Connection(router, self._provider, self._connections),
                config.host,
                config.port,
                backlog=_BACKLOG,
            )
        except OSError:
            self._provider.log.close()
            raise
        host, port = self._server.sockets[0].getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Stop listening, drop all connections, write the log. Calls under way are recorded without a status."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        while self._connections:
            # An aborted socket is closed in the loop's next turn; nobody may meet one half alive.
            await asyncio.sleep(0)
        await self._server.wait_closed()
        self._server = None
        self._provider.log.close()

    def stats(self) -> dict[str, Any]:
        """Counts by status, wire and fault, calls in flight and their peak, tokens."""
        return self._provider.snapshot()

    def set(self, **changes: Any) -> None:
        """Change settings while running, as `POST /_sim/set` does.

        Raises:
            ValueError: An unknown or fixed field, or a value out of range.
        """
        self._provider.configure(self.config.changed(changes))

    def reset(self) -> None:
        """Forget records and counts, fill the limits; settings stay."""
        self._provider.reset()

    async def __aenter__(self) -> Simulator:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _raise_file_limit() -> None:
    """One connection is one open file; the usual soft limit of 1,024 is far too low."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems refuse "unlimited" as a soft limit; then the old one stays.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
