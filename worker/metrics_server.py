"""The metrics server: `/metrics` for Prometheus and `/health`, on the loopback interface.

It speaks as much HTTP as a scraper needs: GET, one request a connection, small and soon.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Mapping
from http import HTTPStatus

import orjson

from shared.errors import ConfigError, StoreError
from shared.fleet_families import CONTENT_TYPE
from shared.providers import Provider
from shared.store.connect import Store
from shared.store.gauges import FleetGauges, read_gauges
from worker.exposition import Exposition
from worker.metrics import WorkerMetrics

log = logging.getLogger(__name__)

HOST = "127.0.0.1"

PORTS = 64
"""How many ports are tried: as many as there can be processes of one `chatq worker`."""

REQUEST_S = 5.0
"""How long a client may take to ask, and to read the answer."""

REQUEST_BYTES = 8192

CLIENTS = 16
"""Connections served at a time; further ones are told to come again."""

CACHE_S = 1.0
"""How long the fleet's gauges are good for: several scrapers cost Redis one reading."""

Reply = tuple[HTTPStatus, str, bytes]


class MetricsServer:
    """Serves one worker process's metrics.

    Args:
        providers: Whose queues and limits are shown.
        port: The first one to try; when it is taken, the next free one.
    """

    def __init__(
        self, store: Store, metrics: WorkerMetrics, providers: Mapping[str, Provider], *, port: int
    ) -> None:
        self._store = store
        self._providers = providers
        self._first_port = port
        self._exposition = Exposition(metrics)
        self._fleet: FleetGauges | None = None
        self._read_at = -CACHE_S
        self._reading = asyncio.Lock()
        self._clients = 0

    async def run(self) -> None:
        """Serve for ever.

        Raises:
            ConfigError: None of the ports is free.
        """
        async with await self._listen() as server:
            port = server.sockets[0].getsockname()[1]
            log.info("metrics at http://%s:%d/metrics", HOST, port)
            await server.serve_forever()

    async def _listen(self) -> asyncio.Server:
        last = min(self._first_port + PORTS - 1, 65_535)
        for port in range(self._first_port, last + 1):
            try:
                return await asyncio.start_server(self._serve, HOST, port, limit=REQUEST_BYTES)
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise ConfigError(f"worker.metrics_port: cannot listen at {HOST}:{port}: {exc}") from exc
        raise ConfigError(f"worker.metrics_port: no port from {self._first_port} to {last} is free")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. Nobody waits for it, so whatever a client does ends here."""
        self._clients += 1
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(*await self._reply(head)))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as exc:
            log.debug("metrics: a client was not served: %r", exc)
        finally:
            self._clients -= 1
            writer.close()

    async def _reply(self, head: bytes) -> Reply:
        if self._clients > CLIENTS:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, "too many clients")
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path not in (b"/metrics", b"/health"):
            return _text(HTTPStatus.NOT_FOUND, "there are /metrics and /health")
        if method != b"GET":
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET")
        return await (self._metrics() if path == b"/metrics" else self._health())

    async def _metrics(self) -> Reply:
        async with self._reading:
            if time.monotonic() - self._read_at >= CACHE_S:
                try:
                    self._fleet = await read_gauges(self._store, self._providers)
                except StoreError as exc:
                    log.warning("metrics: the fleet's part waits for Redis: %s", exc)
                    self._fleet = None
                self._read_at = time.monotonic()
        return HTTPStatus.OK, CONTENT_TYPE, self._exposition.render(self._fleet)

    async def _health(self) -> Reply:
        """Whether a script goes to Redis and back; this one reads nothing and writes nothing."""
        started = time.monotonic()
        try:
            await self._store.run("read_scopes", [], retry_s=0)
        except StoreError as exc:
            body = {"status": "unavailable", "error": str(exc)}
            return HTTPStatus.SERVICE_UNAVAILABLE, "application/json", orjson.dumps(body)
        taken_ms = round((time.monotonic() - started) * 1000, 3)
        return HTTPStatus.OK, "application/json", orjson.dumps({"status": "ok", "redis_ms": taken_ms})


def _text(status: HTTPStatus, text: str) -> Reply:
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()


def _response(status: HTTPStatus, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
