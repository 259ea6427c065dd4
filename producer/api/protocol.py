"""The HTTP protocol of one connection: uvicorn's, with bounds on heads and on connections.

uvicorn's parser takes heads of any size, and waits for them for ever: a few callers could fill the memory or hold
all sockets. What is refused here never reaches the application, so it is answered here, in the same words.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from producer.api.errors import ApiError
from producer.api.middleware import IS_WHOLE, new_request_id

MAX_HEAD_BYTES = 64 * 1024
"""Of request line and headers together; proxies allow 8 to 32 kB."""

MAX_HEADERS = 200

HEAD_S = 20.0
"""How long a head may take to arrive, in seconds; between two calls a connection may be silent for longer."""

LINGER_S = 1.0
"""How long a refused caller may go on sending before the connection is closed: closing resets it, and with that the
caller may lose the answer."""


class _HeadRefusedError(Exception):
    """A head is over a bound; only on its way through the parser."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        max_connections: What the process holds; one more is answered and closed.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        max_connections: int,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._max_connections = max_connections
        self._heads = 0
        self._head_bytes = 0
        self._has_begun = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._refusal: ApiError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there is room."""
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._refuse(
                ApiError(
                    503,
                    "too many connections; come again",
                    kind="server_error",
                    code="too_many_connections",
                    headers={"Retry-After": "2"},
                )
            )
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came. A header that does not end is not seen by the parser's callbacks, but counted here."""
        if self._refusal is not None:
            return
        heads = self._heads
        super().data_received(data)
        if self._refusal is not None or self.transport.is_closing():
            return
        if self._has_begun:
            self._await_head()
            if self._heads == heads:
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse(_too_large())
        elif self.cycle is None or self.cycle.response_complete:
            self._await_head()  # blank lines, or the rest of a body that nobody wanted: not for ever

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._heads += 1
        self._head_bytes = 0
        self._has_begun = True

    def on_url(self, url: bytes) -> None:
        """A part of the request line is there."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is there."""
        self._count(len(name) + len(value))
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._refusal = ApiError(431, f"more than {MAX_HEADERS} headers", code="headers_too_large")
            raise _HeadRefusedError

    def on_headers_complete(self) -> None:
        """The head is complete; the call begins."""
        self._has_begun = False
        self._stop_waiting()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.parser.get_method() != b"HEAD":
            self.cycle.transport = cast(asyncio.Transport, _HeadWithBody(self.transport, self.loop))

    def on_message_complete(self) -> None:
        """The call is here as a whole; that is said in its scope, for one that has not begun."""
        cast(dict[str, Any], self.scope)[IS_WHOLE] = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser did not take."""
        self._refuse(self._refusal or ApiError(400, "this is not an HTTP request", code="invalid_http"))

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refusal = _too_large()
            raise _HeadRefusedError

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        if self._has_begun:
            text = f"the request's head did not arrive within {HEAD_S:g} s"
            self._refuse(ApiError(408, text, code="request_timeout"))
        else:  # nothing was asked: an answer might be taken for that of a call to come
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        self._refusal = error
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_response(error))
            self.transport.write_eof()
            self._head_timer = self.loop.call_later(LINGER_S, self.transport.close)
        else:  # it would land inside another answer
            self.transport.close()


class _HeadWithBody:
    """What an answer is written to: its head waits for the first of its body, and they leave together.

    uvicorn writes one after the other. That would be two packets, for each of which the caller is woken. What has
    no body yet (a stream) is not kept for longer than until the loop's next turn.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None
        self._leaving: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if self._leaving is None:
            self._head = data
            self._leaving = self._loop.call_soon(self._flush)
        elif self._head is not None:
            self._flush(data)
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self, data: bytes = b"") -> None:
        if self._head is not None and self._leaving is not None:
            self._leaving.cancel()
            self._transport.writelines([self._head, data])
            self._head = None


def _too_large() -> ApiError:
    text = f"the request line and the headers are over the limit of {MAX_HEAD_BYTES:,} bytes"
    return ApiError(431, text, code="headers_too_large")


def _response(error: ApiError) -> bytes:
    body = orjson.dumps(error.envelope())
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        "x-request-id": new_request_id(),
        **error.headers,
    }
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
