"""The transport under httpx's types: aiohttp's connector and HTTP parser, without either library's client.

httpx's own pool walks every connection for every request, and both clients spend more time on merging,
cookies and redirects than on the call (docs/performance.md). What is left is: take a connection, write the
request in one piece, read the answer. The exceptions are httpx's, so that `httpx.MockTransport` and this
transport look alike from outside.
"""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import AsyncIterator
from typing import cast

import aiohttp
import httpx
import yarl
from aiohttp.client import ClientTimeout
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage

KEEPALIVE_S = 15.0
"""How long an idle connection is kept, in seconds; most servers keep theirs longer."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends requests over pooled keep-alive connections; any number in flight, nothing sent twice.

    Reads one of httpx's extensions: `timeout["read"]`, the longest silence of the server in seconds. The
    caller bounds the whole call. Raises, before a byte was sent: `ConnectTimeout`, `ConnectError` (its cause
    has the system's `errno`, where there is one); after: `ReadTimeout`, `ReadError` (connection lost),
    `RemoteProtocolError` (not HTTP, or cut short in the body).

    Args:
        connect_timeout_s: For name, TCP and TLS together, in seconds.
    """

    def __init__(self, *, connect_timeout_s: float) -> None:
        self._timeout = ClientTimeout(connect=connect_timeout_s)
        self._connector: aiohttp.TCPConnector | None = None
        self._destinations: dict[tuple[str, bytes, int | None], aiohttp.ClientRequest] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and read the head of the answer; the body follows in the response's stream."""
        connection = await self._connect(request.url)
        try:
            message = await self._exchange(connection, request)
        except BaseException:
            _drop(connection)
            raise
        return message

    async def _exchange(self, connection: Connection, request: httpx.Request) -> httpx.Response:
        protocol = connection.protocol
        if protocol is None or protocol.transport is None or protocol.transport.is_closing():
            raise httpx.ConnectError("the connection was closed before the request was sent")
        timeout = request.extensions.get("timeout")
        protocol.set_response_params(read_until_eof=True, read_timeout=timeout and timeout["read"])
        head = _head(request)
        body = b"".join([part async for part in cast(httpx.AsyncByteStream, request.stream)])
        protocol.transport.write(head + body)
        protocol.start_timeout()
        try:
            message, payload = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, payload = await protocol.read()
        except (aiohttp.ClientError, HttpProcessingError, aiohttp.EofStream, OSError) as exc:
            raise _read_failure(exc) from exc
        return httpx.Response(
            message.code, headers=_headers(message), stream=_AnswerBody(connection, payload), request=request
        )

    async def _connect(self, url: httpx.URL) -> Connection:
        """A connection on which the server has nothing to say yet."""
        origin = (url.scheme, url.raw_host, url.port)
        destination = self._destinations.get(origin)
        if destination is None:
            # What the connector wants to know of a server; one object an origin, not one a request.
            destination = self._destinations[origin] = aiohttp.ClientRequest(
                "POST", yarl.URL(str(url), encoded=True), loop=asyncio.get_running_loop()
            )
        connection = await self._take(destination)
        if _is_stale(connection):
            # Closed by the server while idle, or with an answer nobody asked for. No byte of this request
            # was sent, so one more connection is safe; if that one is closed too the call fails.
            _drop(connection)
            connection = await self._take(destination)
        return connection

    async def _take(self, destination: aiohttp.ClientRequest) -> Connection:
        if self._connector is None:
            self._connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
        try:
            return await self._connector.connect(destination, traces=[], timeout=self._timeout)
        except TimeoutError as exc:
            raise httpx.ConnectTimeout(f"no connection within {self._timeout.connect:g} s") from exc
        except (aiohttp.ClientError, OSError, UnicodeError) as exc:
            raise httpx.ConnectError(str(exc) or type(exc).__name__) from exc

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        if self._connector is not None:
            await self._connector.close()
            self._connector = None


class _AnswerBody(httpx.AsyncByteStream):
    """The body of one answer. Closing it gives the connection back, or drops it when bytes are left over."""

    __slots__ = ("_connection", "_payload")

    def __init__(self, connection: Connection, payload: aiohttp.StreamReader) -> None:
        self._connection = connection
        self._payload = payload

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self  # a generator would cost more than the read: asyncio registers each one

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._payload.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError) as exc:
            if isinstance(exc, aiohttp.ClientPayloadError):
                raise httpx.RemoteProtocolError("the answer was cut short") from exc
            raise _read_failure(exc) from exc
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        if self._payload.at_eof() and self._payload.exception() is None:
            self._connection.release()
        else:
            _drop(self._connection)


def _head(request: httpx.Request) -> bytes:
    """Request line and headers. The caller vouches that no header has a line break in it."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    lines += [b"", b""]
    return b"\r\n".join(lines)


def _headers(message: RawResponseMessage) -> list[tuple[bytes, bytes]]:
    """The answer's headers; `content-encoding` is left out when the body comes decoded."""
    if not message.compression:
        return list(message.raw_headers)
    return [header for header in message.raw_headers if header[0].lower() != b"content-encoding"]


def _read_failure(exc: Exception) -> httpx.TransportError:
    if isinstance(exc, TimeoutError):
        return httpx.ReadTimeout("the server fell silent")
    if isinstance(exc, HttpProcessingError):
        return httpx.RemoteProtocolError(f"not an HTTP answer: {exc.message}")
    return httpx.ReadError(str(exc) or type(exc).__name__)


def _is_stale(connection: Connection) -> bool:
    protocol = connection.protocol
    if protocol is None or protocol.transport is None or protocol.should_close:
        return True
    return _peer_has_closed(protocol.transport)


def _peer_has_closed(transport: asyncio.BaseTransport) -> bool:
    """Whether the server's FIN has arrived, even if the loop has not read it yet."""
    if sys.platform == "win32":
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), getattr(select, "POLLRDHUP", 0))
    return bool(poll.poll(0))


def _drop(connection: Connection) -> None:
    """Cut a connection whose state is unknown; its unsent bytes are thrown away, not flushed."""
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()
