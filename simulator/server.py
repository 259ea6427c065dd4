"""The simulator as an object: start it, talk to its URL, read its calls, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any

from simulator.calllog import CallRecord
from simulator.config import SimulatorConfig
from simulator.protocol import Clients, Connection
from simulator.provider import Provider
from simulator.routes import Router

_BACKLOG = 8192
"""Connections the kernel may hold for us; it caps this at `net.core.somaxconn`."""
_ANSWER_FIRST_S = 0.01
"""Lets the answer to the request for an outage get through before it begins."""


class Simulator:
    """A local stand-in for LLM providers.

    Use it as an async context manager, or call `start` and `stop`. It runs in the current event loop.
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self._provider = Provider(config or SimulatorConfig())
        self._router = Router(self._provider, self._begin_outage)
        self._clients = Clients()
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._outage: asyncio.Task[None] | None = None
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
        try:
            self._server = await self._listen(host=self.config.host, port=self.config.port)
        except OSError:
            self._provider.log.close()
            raise
        host, port = self._server.sockets[0].getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Stop listening, drop all connections, write the log. Calls under way are recorded without a status."""
        if self._outage is not None:
            self._outage.cancel()
            self._outage = None
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        server, self._server = self._server, None
        if server is not None:
            await self._leave(server, Connection.abort)
        self._provider.log.close()

    async def close_port(self) -> None:
        """Go down hard: connections are reset, new ones refused, until `open_port`; does nothing if it is closed.

        Calls under way are recorded without a status. Settings, counts and what is left of the limits stay.
        """
        server, self._server = self._server, None
        if server is None:
            return
        listener = server.sockets[0]
        family, address = listener.family, listener.getsockname()
        await self._leave(server, Connection.reset)
        # Bound and not listening: the kernel refuses clients, and hands the port out to nobody meanwhile.
        self._reserved = socket.socket(family, socket.SOCK_STREAM)
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(address)

    async def open_port(self) -> None:
        """Come back on the same port; does nothing if it is open."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            self._server = await self._listen(sock=reserved)

    async def _listen(self, **where: Any) -> asyncio.Server:
        """Take clients in at a host and port, or on a bound socket."""
        self._clients.is_admitting = True
        return await asyncio.get_running_loop().create_server(
            lambda: Connection(self._router, self._provider, self._clients), **where, backlog=_BACKLOG
        )

    async def _leave(self, server: asyncio.Server, how: Callable[[Connection], None]) -> None:
        """Stop listening and end all connections."""
        loop = asyncio.get_running_loop()
        # asyncio loses a connection that was accepted just before the server closed: its client would wait for
        # ever. So accept no more, and let those get through to `Clients` first.
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())
        await asyncio.sleep(0)
        server.close()
        await self._clients.drop(how)
        await server.wait_closed()

    def _begin_outage(self, duration_s: float) -> None:
        """Be away for a while, soon; replaces an outage that has not ended."""
        if self._outage is not None:
            self._outage.cancel()
        self._outage = asyncio.get_running_loop().create_task(self._be_away(duration_s))

    async def _be_away(self, duration_s: float) -> None:
        await asyncio.sleep(_ANSWER_FIRST_S)
        await self.close_port()
        await asyncio.sleep(duration_s)
        await self.open_port()

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
