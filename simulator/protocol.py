"""One client connection: requests parsed as they come in, replies sent in the same order.

A request without delay is answered inside `data_received`; the replies to pipelined requests leave in one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from simulator.delivery import Delivery, begin
from simulator.faults import Fault
from simulator.framing import TEXT, Request, plain, render
from simulator.provider import Exchange, Provider
from simulator.reply import Reply
from simulator.routes import Router

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Largest request body taken in; far above any chat request."""
_MAX_BACKLOG = 64
"""Pipelined requests waiting on one connection before reading stops."""
_HEADERS = frozenset(
    (
        b"authorization",
        b"x-api-key",
        b"x-goog-api-key",
        b"anthropic-version",
        b"x-chatq-job",
        b"x-chatq-attempt",
        b"x-source",
    )
)
_UNSENT = frozenset((Fault.RESET, Fault.HANG))
"""Faults in which no status line is sent."""
_LINGER_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: closing sends RST instead of FIN."""


class _TooLarge(Exception):
    """The request body is over `MAX_BODY_BYTES`."""


class Clients:
    """The open connections of one simulator."""

    def __init__(self) -> None:
        self.is_admitting = True
        """When not, newcomers are reset: the kernel may have accepted some just before the port closed."""
        self._connected: set[Connection] = set()

    def add(self, connection: Connection) -> None:
        """Take a newcomer in, or reset it."""
        self._connected.add(connection)
        if not self.is_admitting:
            connection.reset()

    def discard(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connected.discard(connection)

    async def drop(self, how: Callable[[Connection], None]) -> None:
        """End all connections and admit no more; returns when they are gone."""
        self.is_admitting = False
        for connection in list(self._connected):
            how(connection)
        while self._connected:
            # An aborted socket is closed in the loop's next turn; nobody may meet one half alive.
            await asyncio.sleep(0)


class Connection(asyncio.Protocol):
    """One client connection; a `simulator.delivery.Channel` for faulty deliveries."""

    def __init__(self, router: Router, provider: Provider, clients: Clients) -> None:
        self.is_writable = True
        self._router = router
        self._provider = provider
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._backlog: deque[Request] = deque()
        self._exchange: Exchange | None = None
        self._is_last = False
        self._is_serving = False
        self._timer: asyncio.TimerHandle | None = None
        self._delivery: Delivery | None = None
        self._unsent: list[bytes] = []
        self._sent_bytes = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._clients.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left, or the connection was closed here."""
        self._clients.discard(self)
        self._stop(is_client_gone=True)

    def data_received(self, data: bytes) -> None:
        """Parse, then serve what is complete."""
        if self._transport.is_closing():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self._refuse(413 if isinstance(exc.__context__, _TooLarge) else 400)
            return
        self._serve()

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """The client caught up."""
        self.is_writable = True
        if self._delivery is not None:
            self._delivery.resume()
        self._serve()

    # What the parser calls.

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        if name in _HEADERS:
            self._headers[name] = value
        elif name == b"content-length" and int(value) > MAX_BODY_BYTES:
            # Before the body comes: a close with input unread resets the connection, and the refusal with it.
            raise _TooLarge

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            raise _TooLarge

    def on_message_complete(self) -> None:
        """The request is complete."""
        parser = self._parser
        self._backlog.append(
            Request(
                parser.get_method(),
                self._target.decode("latin-1"),
                self._headers,
                self._body[0] if len(self._body) == 1 else b"".join(self._body),
                parser.should_keep_alive(),
            )
        )
        self._target = b""
        self._headers = {}
        self._body = []
        self._body_bytes = 0

    # What deliveries call.

    def write(self, data: bytes) -> None:
        """Send now, behind replies not sent yet."""
        self._unsent.append(data)
        self._sent_bytes += len(data)
        self._flush()

    def finish(self) -> None:
        """The reply is complete; go on with the next request."""
        self._settle(is_client_gone=False)
        if self._is_last:
            self._flush()
            self._transport.close()
        elif not self._is_serving:
            self._serve()

    def end(self) -> None:
        """Close the connection after what was written."""
        self._settle(is_client_gone=False)
        self._transport.close()

    def reset(self) -> None:
        """Drop the connection so that the client sees a reset."""
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET
            )
        self.abort()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run something later in the connection's event loop."""
        return self._loop.call_later(delay_s, callback)

    # The server's end.

    def abort(self) -> None:
        """Drop the connection and record the call under way as broken off here."""
        self._stop(is_client_gone=False)
        self._transport.abort()

    def _serve(self) -> None:
        """Take requests in order until one has to wait."""
        self._is_serving = True
        while (
            self._backlog and self._exchange is None and self.is_writable and not self._transport.is_closing()
        ):
            request = self._backlog.popleft()
            self._exchange = exchange = self._router.open(request)
            self._is_last = not request.is_keep_alive
            self._sent_bytes = 0
            if exchange.delay_s > 0:
                self._timer = self._loop.call_later(exchange.delay_s, self._due)
            else:
                self._answer(exchange)
        self._is_serving = False
        self._flush()
        if len(self._backlog) > _MAX_BACKLOG:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _due(self) -> None:
        """The latency of the request under way is over."""
        self._timer = None
        if self._exchange is not None:
            self._answer(self._exchange)
            self._flush()

    def _answer(self, exchange: Exchange) -> None:
        reply = exchange.build()
        if exchange.record is not None and reply.fault not in _UNSENT:
            exchange.record.status = reply.status
        if reply.fault is None:
            self._send(reply)
            self.finish()
            return
        self._delivery = begin(
            reply, reply.fault, self, trickle_interval_s=self._provider.config.trickle_interval_s
        )
        self._delivery.resume()

    def _send(self, reply: Reply) -> None:
        """Queue a whole reply; it leaves with the next flush."""
        self._unsent.append(reply.head)
        self._unsent.append(reply.body)
        self._sent_bytes += len(reply.head) + len(reply.body)

    def _flush(self) -> None:
        if self._unsent:
            data = b"".join(self._unsent)
            self._unsent.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    def _refuse(self, status: int) -> None:
        """Answer what is not HTTP, or too large, and close."""
        if self._exchange is None:
            phrase = b"request body too large" if status == 413 else b"bad request"
            self.write(b"".join(render(status, plain(TEXT, phrase), is_keep_alive=False)))
        self._transport.close()

    def _settle(self, *, is_client_gone: bool) -> None:
        """The exchange under way is over."""
        self._delivery = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._provider.close(exchange, sent_bytes=self._sent_bytes, is_client_gone=is_client_gone)

    def _stop(self, *, is_client_gone: bool) -> None:
        """Nothing more will be sent."""
        self._backlog.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._delivery is not None:
            self._delivery.cancel()
        self._settle(is_client_gone=is_client_gone)
