"""One HTTP exchange with one upstream: request out, whole answer in, every failure typed.

Bounded in time (connect, silence, total) and in bytes; nothing is retried here. A streamed answer is followed
as it comes, and comes out whole.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple, cast

import httpx

from shared.errors import (
    OWN_WAIT_S,
    OutOfSockets,
    RequestRefused,
    UpstreamError,
    UpstreamUnavailable,
)
from shared.providers import Provider
from worker.error_text import clean_text
from worker.upstream.deadlines import Deadlines
from worker.upstream.endpoint import Endpoint, header_value, secrets_of
from worker.upstream.stall import StallWatch
from worker.upstream.streams import StreamedAnswer
from worker.upstream.transport import AiohttpTransport

MAX_ERROR_BYTES = 64 * 1024
"""How much of an error answer is read; the rest is cut off, the status still counts."""

DOWN_WAIT_S = (10.0, 60.0)
"""First and longest wait for a server that cannot be reached, in seconds (docs/provider-wire.md §17)."""

_NO_CONNECTION = frozenset({"connect_failed", "connect_timeout"})

_SHORTAGES = {
    errno.EMFILE: "raise the limit of open files (`ulimit -n`, `LimitNOFILE`) or lower the concurrency",
    errno.ENFILE: "raise the limit of open files of the whole machine (`fs.file-max`)",
    errno.EADDRNOTAVAIL: "the local ports are used up: widen `net.ipv4.ip_local_port_range`",
    errno.ENOBUFS: "the machine needs more memory for sockets",
    errno.ENOMEM: "the machine needs more memory for sockets",
}
"""What connect(2) and socket(2) report when this machine has nothing left to connect with, and what helps."""

_END_OF_BODY_S = 0.25
"""How long the end of a stream's body is waited for once its answer is complete, in seconds.

It comes with the last event or right after it; without it the connection cannot be used again.
"""


class Reply(NamedTuple):
    """One complete answer, of any status."""

    status: int
    headers: httpx.Headers
    body: bytes
    ttfb_s: float
    """Send to the answer's head, in seconds."""
    latency_s: float
    """Send to last byte, in seconds."""
    is_streamed: bool = False
    """Whether the body was put together from the events of a stream."""


class HttpClient:
    """Posts JSON to one provider, over one connection pool.

    Args:
        provider: Address, key, headers and timeouts.
        max_answer_bytes: A longer answer is refused and its connection dropped.
        transport: Another way to send (tests); None: the pooled one.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        max_answer_bytes: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._address = provider.base_url
        self._max_answer_bytes = max_answer_bytes
        self._idle_timeout_s = provider.timeout_s
        self._stall_timeout_s = provider.stall_timeout_s
        self._idle_extension = {
            "timeout": {"read": provider.timeout_s, "connect": provider.connect_timeout_s}
        }
        self._deadlines = Deadlines()
        self._was_reached = False
        self._secrets = secrets_of(provider)
        self._transport = transport or AiohttpTransport(connect_timeout_s=provider.connect_timeout_s)

    async def post(
        self,
        endpoint: Endpoint,
        body: bytes,
        labels: Mapping[str, str],
        timeout_s: float,
        streamed: StreamedAnswer | None = None,
    ) -> Reply:
        """Send one request and read its whole answer.

        Args:
            endpoint: Where to.
            body: JSON.
            labels: Further headers of this call.
            timeout_s: Longest time for everything together, in seconds.
            streamed: What puts the answer together if it comes as a stream; None: none was asked for.

        Raises:
            UpstreamUnavailable: No complete answer came; the code says why.
            RequestRefused: The answer is over the limit (`answer_too_large`).
            OutOfSockets: This machine has nothing left to connect with.
        """
        if timeout_s <= 0:
            raise UpstreamUnavailable("no time is left for a call", code="total_timeout", scope="job")
        outgoing = _Outgoing(body)
        request = self._request(endpoint, outgoing, labels, timeout_s)
        response = None
        try:
            async with asyncio.timeout(None) as scope:
                tick = self._deadlines.watch(scope, timeout_s)
                try:
                    response = await self._transport.handle_async_request(request)
                    head_at = time.monotonic()
                    answer, is_streamed = await self._read(response, streamed)
                finally:
                    self._deadlines.forget(scope, tick)
        except TimeoutError as exc:
            raise UpstreamUnavailable(
                f"no complete answer from {self._address} within {timeout_s:g} s",
                code="total_timeout",
                # A job that brought less time than the provider is given says nothing of its health.
                scope="job" if timeout_s < self._idle_timeout_s else "model",
                maybe_billed=outgoing.is_taken,
            ) from exc
        except httpx.TransportError as exc:
            raise self._failure(exc, response, is_sent=outgoing.is_taken) from exc
        self._was_reached = True
        sent_at = outgoing.taken_at
        return Reply(
            response.status_code,
            response.headers,
            answer,
            head_at - sent_at,
            time.monotonic() - sent_at,
            is_streamed,
        )

    def _request(
        self, endpoint: Endpoint, outgoing: _Outgoing, labels: Mapping[str, str], timeout_s: float
    ) -> httpx.Request:
        headers = [*endpoint.headers, (b"Content-Length", b"%d" % len(outgoing.body))]
        headers += [(name.encode(), header_value(value)) for name, value in labels.items()]
        # Silence is only watched where it can end before the total does: it costs a timer.
        extensions = self._idle_extension if self._idle_timeout_s < timeout_s else None
        return httpx.Request("POST", endpoint.url, headers=headers, stream=outgoing, extensions=extensions)

    async def _read(self, response: httpx.Response, streamed: StreamedAnswer | None) -> tuple[bytes, bool]:
        """The whole answer, and whether it came as a stream."""
        if streamed is None or response.status_code >= 300:
            return await self._read_whole(response), False
        if streamed.begin(response.headers.get("content-type", "")):
            await self._follow(response, streamed)
            return streamed.body(), True
        return streamed.body_of_array(await self._read_whole(response)), False

    async def _follow(self, response: httpx.Response, streamed: StreamedAnswer) -> None:
        """Read a stream until its answer is complete; from the first byte on, silence is bounded."""
        stream = cast(httpx.AsyncByteStream, response.stream)
        chunks = aiter(stream)
        try:
            streamed.feed(await anext(chunks, b""))  # how long that takes, the other limits say
            async with asyncio.timeout(None) as scope:
                watch = StallWatch(scope, self._stall_timeout_s)
                try:
                    await self._feed(chunks, streamed, watch)
                finally:
                    watch.stop()
        except TimeoutError as exc:
            if not streamed.is_complete:
                raise self._stalled() from exc
        except httpx.TransportError:
            if not streamed.is_complete:
                raise
        finally:
            await stream.aclose()

    async def _feed(self, chunks: AsyncIterator[bytes], streamed: StreamedAnswer, watch: StallWatch) -> None:
        is_ending = streamed.is_complete
        if is_ending:
            watch.allow_only(_END_OF_BODY_S)
        async for chunk in chunks:
            streamed.feed(chunk)
            if streamed.size > self._max_answer_bytes:
                raise self._too_large(200)
            watch.heard()
            if streamed.is_complete and not is_ending:
                is_ending = True
                watch.allow_only(_END_OF_BODY_S)

    def _stalled(self) -> UpstreamUnavailable:
        return UpstreamUnavailable(
            f"{self._address} began its answer and then said nothing for {self._stall_timeout_s:g} s",
            code="stalled",
            maybe_billed=True,
        )

    async def _read_whole(self, response: httpx.Response) -> bytes:
        stream = cast(httpx.AsyncByteStream, response.stream)
        is_error = response.status_code >= 400
        left = MAX_ERROR_BYTES if is_error else self._max_answer_bytes
        chunks = []
        try:
            async for chunk in stream:
                chunks.append(chunk)
                left -= len(chunk)
                if left < 0:
                    break
        except httpx.TransportError:
            if not is_error:  # a cut error still has its status
                raise
        finally:
            await stream.aclose()
        if left < 0 and not is_error:
            raise self._too_large(response.status_code)
        return b"".join(chunks) if len(chunks) != 1 else chunks[0]

    def _too_large(self, status: int) -> RequestRefused:
        return RequestRefused(
            f"the answer from {self._address} is over {self._max_answer_bytes:,} bytes",
            code="answer_too_large",
            status=status,
            maybe_billed=True,
        )

    def _failure(
        self, exc: httpx.TransportError, response: httpx.Response | None, *, is_sent: bool
    ) -> UpstreamError | OutOfSockets:
        """The typed error for what the transport raised before (`response` is None) or in the body."""
        what, code = _meaning(exc, is_in_body=response is not None)
        if code == "connect_failed" and (shortage := self._shortage(exc)):
            return shortage
        text = clean_text(self.redact(str(exc).encode()).decode())
        is_down = code in _NO_CONNECTION
        return UpstreamUnavailable(
            f"{what} {self._address}: {text}",
            code=code,
            scope="provider" if is_down else "model",
            wait_range_s=DOWN_WAIT_S if is_down else OWN_WAIT_S,
            maybe_billed=is_sent,
        )

    def _shortage(self, exc: httpx.TransportError) -> OutOfSockets | None:
        """The error if it was for want of something of ours that there is no connection."""
        number: int = getattr(exc.__cause__, "errno", None) or 0
        remedy = _SHORTAGES.get(number)
        # The system says the same of an address it can never call from here (IPv6 is off): none there ever answers.
        if remedy is None or (number == errno.EADDRNOTAVAIL and not self._was_reached):
            return None
        return OutOfSockets(f"no socket for a call to {self._address}: {os.strerror(number)}; {remedy}")

    def redact(self, body: bytes) -> bytes:
        """What the upstream said, without this provider's key and secret headers."""
        for secret in self._secrets:
            body = body.replace(secret, b"[redacted]")
        return body

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


class _Outgoing(httpx.AsyncByteStream):
    """A request body that remembers when the transport took it: from then on it may have been sent."""

    __slots__ = ("body", "is_taken", "taken_at")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.is_taken = False
        self.taken_at = 0.0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.is_taken:
            raise StopAsyncIteration
        self.is_taken = True
        self.taken_at = time.monotonic()
        return self.body


def _meaning(exc: httpx.TransportError, *, is_in_body: bool) -> tuple[str, str]:
    """What happened, in words, and the error's code."""
    if isinstance(exc, httpx.ConnectTimeout):
        return "no connection to", "connect_timeout"
    if isinstance(exc, (httpx.ConnectError, httpx.PoolTimeout, httpx.UnsupportedProtocol)):
        return "no connection to", "connect_failed"
    if isinstance(exc, httpx.ReadTimeout):
        return "silence from", "read_timeout"
    if is_in_body:
        return "the answer was cut short by", "truncated"
    if isinstance(exc, httpx.RemoteProtocolError):
        return "no HTTP answer from", "malformed"
    return "the connection was lost to", "connection_lost"
