"""What goes wrong on the way, on real sockets: each fault gives its code, and says whether money may be gone."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
from collections.abc import Callable

import httpx
import pytest

from shared.errors import CredentialRejected, OutOfSockets, RequestRefused, UpstreamError, UpstreamUnavailable
from tests.support import no_file_left
from tests.worker.upstream.conftest import Caller
from tests.worker.upstream.loopback import GOOD, GOOD_ANSWER, Conversation, chat_request, http_answer, running
from worker.upstream.http import DOWN_WAIT_S

MEBIBYTE = 1 << 20


async def failure(caller: Caller, url: str, **options: object) -> UpstreamError:
    """Call an upstream that must fail, and hand over how."""
    with pytest.raises(UpstreamError) as caught:
        await caller.call(url, **options)  # type: ignore[arg-type]
    return caught.value


def raw(data: bytes, then: str = "close") -> Callable[[Conversation], object]:
    """A script that writes bytes and then closes, resets, or keeps the connection open."""

    async def script(conversation: Conversation) -> None:
        conversation.writer.write(data)
        await conversation.writer.drain()
        if then == "reset":
            conversation.reset()
        elif then == "close":
            conversation.writer.close()

    return script


HALF = http_answer(GOOD)[:-20]
HALF_CHUNK = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"id": 1, "choices"'
HALF_GZIP = http_answer(
    gzip.compress(b'{"a": "' + b"x" * 9000 + b'"}')[:-12], headers="Content-Encoding: gzip\r\n"
)

FAULTS = {
    "closed before any answer": (raw(b""), "connection_lost"),
    "reset before any answer": (raw(b"", "reset"), "connection_lost"),
    "closed inside the head": (raw(b"HTTP/1.1 200 OK\r\nContent-"), "connection_lost"),
    "closed inside the body": (raw(HALF), "truncated"),
    "reset inside the body": (raw(HALF, "reset"), "truncated"),
    "closed inside a chunk": (raw(HALF_CHUNK), "truncated"),
    "cut gzip": (raw(HALF_GZIP), "malformed"),
    "no HTTP at all": (raw(b"220 mail.test ESMTP\r\n\r\n"), "malformed"),
    "HTML page": (raw(http_answer(b"<html><title>Sorry</title></html>")), "malformed"),
    "empty body": (raw(http_answer(b"")), "empty_body"),
    "only blanks": (raw(http_answer(b" \r\n\n")), "empty_body"),
    "no content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "empty_body"),
    "JSON cut, no length": (raw(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"id": "1", "cho'), "malformed"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_broken_answer_has_its_code(caller: Caller, fault: str) -> None:
    """Each broken answer is worth another attempt, under its own code, and may be billed."""
    script, code = FAULTS[fault]
    async with running(script) as loopback:  # type: ignore[arg-type]
        error = await failure(caller, loopback.url)
    assert (type(error), error.code, error.maybe_billed) == (UpstreamUnavailable, code, True)


async def test_refused_connection_is_not_billed(caller: Caller) -> None:
    """Nothing listens: the call fails at once, and no byte was sent."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    error = await failure(caller, url)
    assert (error.code, error.maybe_billed) == ("connect_failed", False)
    assert (error.scope, error.wait_range_s) == ("provider", DOWN_WAIT_S)
    assert url in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_missing_file_descriptor_is_our_own_shortage(caller: Caller, host: str) -> None:
    """Neither the socket nor the name lookup gets one; with one again the same call goes through."""
    async with running(raw(GOOD_ANSWER, "stay")) as loopback:
        url = loopback.url.replace("127.0.0.1", host)
        await caller.call(url)  # loads what a first call loads from disk
        with no_file_left(), pytest.raises(OutOfSockets, match=f"{url}: Too many open files; .*ulimit -n"):
            await caller.call(url)
        await caller.call(url)
    assert loopback.connections == 2


def failing_with(number: int) -> httpx.MockTransport:
    """A transport whose first and third call find no connection for this reason."""
    calls = iter((False, True, False))

    def answer(request: httpx.Request) -> httpx.Response:
        if next(calls):
            return httpx.Response(200, json=GOOD)
        raise httpx.ConnectError("") from OSError(number, "")

    return httpx.MockTransport(answer)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_every_shortage_of_the_machine_is_told_apart(caller: Caller, number: int) -> None:
    with pytest.raises(OutOfSockets):
        await caller.call("http://upstream.test", transport=failing_with(number))


async def test_address_that_was_never_reached_is_no_shortage_of_ports(caller: Caller) -> None:
    """The system reports both alike; the latter is the provider's address being wrong for this machine."""
    upstream = caller.open("http://upstream.test", transport=failing_with(errno.EADDRNOTAVAIL))
    options = {"headers": {}, "timeout_s": 5.0}
    with pytest.raises(UpstreamUnavailable):
        await upstream.call(chat_request(), "m", **options)  # type: ignore[arg-type]
    await upstream.call(chat_request(), "m", **options)  # type: ignore[arg-type]
    with pytest.raises(OutOfSockets, match="ip_local_port_range"):
        await upstream.call(chat_request(), "m", **options)  # type: ignore[arg-type]


async def test_failed_tls_is_a_failed_connection(caller: Caller) -> None:
    """A server that does not speak TLS where it should is not reached."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(caller, f"https://127.0.0.1:{port}")
    assert (error.code, error.maybe_billed) == ("connect_failed", False)


async def test_unanswered_connect_times_out(caller: Caller) -> None:
    """A server whose backlog is full accepts nobody: the connect time-out ends it, unsent."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        error = await failure(caller, url, connect_timeout_s=0.2)
    assert (error.code, error.maybe_billed, error.scope) == ("connect_timeout", False, "provider")


async def test_total_timeout_before_sending_is_free(caller: Caller) -> None:
    """The total ends while connecting: nothing was sent, so nothing is billed."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        error = await failure(caller, url, timeout_s=0.1)
    assert (error.code, error.maybe_billed) == ("total_timeout", False)


async def test_no_time_left_sends_nothing(caller: Caller) -> None:
    """A call whose deadline has passed does not start."""
    async with running(raw(GOOD_ANSWER)) as loopback:  # type: ignore[arg-type]
        error = await failure(caller, loopback.url, timeout_s=0.0)
        assert loopback.connections == 0
    assert (error.code, error.maybe_billed) == ("total_timeout", False)


async def test_hanging_server_hits_total_timeout(caller: Caller) -> None:
    """A server that never answers is left after the total, and its connection is cut."""
    async with running(raw(b"", "keep")) as loopback:  # type: ignore[arg-type]
        error = await failure(caller, loopback.url, timeout_s=0.1)
        await asyncio.wait_for(loopback.hung_up.wait(), 5)
    assert (error.code, error.maybe_billed, error.scope) == ("total_timeout", True, "job")


async def test_whole_timeout_without_an_answer_blames_the_model(caller: Caller) -> None:
    """A job that brought all the time the provider is given did not run out of its own."""
    async with running(raw(b"", "keep")) as loopback:  # type: ignore[arg-type]
        upstream = caller.open(loopback.url, timeout_s=0.1)
        with pytest.raises(UpstreamUnavailable) as caught:
            await upstream.call(chat_request(), "m", headers={}, timeout_s=0.1)
    assert (caught.value.code, caught.value.scope) == ("total_timeout", "model")


async def test_trickling_server_hits_total_timeout(caller: Caller) -> None:
    """A byte now and then keeps the line busy, not the call alive."""

    async def trickle(conversation: Conversation) -> None:
        for byte in GOOD_ANSWER:
            conversation.writer.write(bytes([byte]))
            await conversation.writer.drain()
            await asyncio.sleep(0.02)

    async with running(trickle) as loopback:
        error = await failure(caller, loopback.url, timeout_s=0.2)
        await asyncio.wait_for(loopback.hung_up.wait(), 5)
    assert (error.code, error.maybe_billed) == ("total_timeout", True)


@pytest.mark.parametrize("sent", [b"", HALF], ids=["before the head", "inside the body"])
async def test_silent_server_hits_read_timeout(caller: Caller, sent: bytes) -> None:
    """Silence longer than the provider's time-out ends a call that has more time in total."""
    async with running(raw(sent, "keep")) as loopback:  # type: ignore[arg-type]
        upstream = caller.open(loopback.url, timeout_s=0.1)
        with pytest.raises(UpstreamUnavailable) as caught:
            await upstream.call(chat_request(), "m", headers={}, timeout_s=5.0)
        await asyncio.wait_for(loopback.hung_up.wait(), 5)
    assert (caught.value.code, caught.value.maybe_billed) == ("read_timeout", True)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b" " * MEBIBYTE
BOMB = gzip.compress(b" " * (64 * MEBIBYTE))
OVERSIZED = {
    "length": http_answer(b" " * (MEBIBYTE + 1)),
    "chunked without end": CHUNKED + b"\r\n1\r\n \r\n",
    "gzip bomb": http_answer(BOMB, headers="Content-Encoding: gzip\r\n"),
}


@pytest.mark.parametrize("form", OVERSIZED)
async def test_oversized_answer_is_refused(caller: Caller, form: str) -> None:
    """An answer over the limit, also after unpacking, is not worth another attempt."""
    async with running(raw(OVERSIZED[form], "keep")) as loopback:  # type: ignore[arg-type]
        error = await failure(caller, loopback.url, max_answer_bytes=MEBIBYTE)
    assert (type(error), error.code, error.status) == (RequestRefused, "answer_too_large", 200)


async def test_oversized_answer_drops_the_connection(caller: Caller) -> None:
    """The rest of an endless answer is not read for the sake of the connection."""
    async with running(raw(CHUNKED + b"\r\n1\r\n \r\n", "keep")) as loopback:  # type: ignore[arg-type]
        await failure(caller, loopback.url, max_answer_bytes=MEBIBYTE)
        await asyncio.wait_for(loopback.hung_up.wait(), 5)


async def test_oversized_error_keeps_its_status(caller: Caller) -> None:
    """A huge or cut error page is cut, and the status still says what is wrong."""
    body = http_answer(b"x" * MEBIBYTE, status=401)[: -MEBIBYTE // 2]
    async with running(raw(body)) as loopback:  # type: ignore[arg-type]
        error = await failure(caller, loopback.url, max_answer_bytes=1000)
    assert (type(error), error.status) == (CredentialRejected, 401)


async def test_cancelled_call_cuts_its_connection(caller: Caller) -> None:
    """A connection with an answer still to come must not serve another request."""
    arrived = asyncio.Event()

    async def hold(conversation: Conversation) -> None:
        arrived.set()

    async with running(hold) as loopback:
        call = asyncio.create_task(caller.call(loopback.url))
        await asyncio.wait_for(arrived.wait(), 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(loopback.hung_up.wait(), 5)
