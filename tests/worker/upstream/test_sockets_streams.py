"""Streamed answers over real sockets: stalls, cuts, ends, and the connection afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr

from shared.errors import RequestRefused, UpstreamError, UpstreamUnavailable
from tests.worker.upstream.conftest import Caller
from tests.worker.upstream.loopback import GOOD, Conversation, chat_request, http_answer, running
from tests.worker.upstream.streams.recorded import chunk, sse

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT_HEAD = HEAD.format("text/event-stream").encode()
LAST_CHUNK = b"0\r\n\r\n"

HELLO = sse(chunk({"role": "assistant", "content": "hel"}))
REST = sse(chunk({"content": "lo"}), chunk({}, "stop"), chunk(usage=GOOD["usage"]), done=True)


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


Script = Callable[[Conversation], Awaitable[None]]


def streaming(*pieces: bytes, pause_s: float = 0.0, then: str = "stay") -> Script:
    """A script that writes pieces as they are, with pauses between, and then closes, resets or stays."""

    async def script(conversation: Conversation) -> None:
        for piece in pieces:
            conversation.writer.write(piece)
            await conversation.writer.drain()
            await asyncio.sleep(pause_s)
        if then == "close":
            conversation.writer.close()
        elif then == "reset":
            conversation.reset()

    return script


async def failure(caller: Caller, script: Script, **options: Any) -> UpstreamError:
    async with running(script) as loopback:  # type: ignore[arg-type]
        with pytest.raises(UpstreamError) as caught:
            await caller.call(loopback.url, stream=True, **options)
    return caught.value


def text_of(answer: Any) -> str:
    return str(answer.response["choices"][0]["message"]["content"])


async def test_streamed_answer_is_whole_and_keeps_its_connection(caller: Caller) -> None:
    """Asked for as a stream with its usage; two calls go over one connection."""
    script = streaming(EVENT_HEAD, framed(HELLO), framed(REST) + LAST_CHUNK)
    async with running(script) as loopback:  # type: ignore[arg-type]
        upstream = caller.open(loopback.url, stream=True)
        answers = [await upstream.call(chat_request(), "m", headers={}, timeout_s=5) for _ in range(2)]
    assert [text_of(answer) for answer in answers] == ["hello", "hello"]
    assert answers[0].usage["input_total"] == 7
    assert b'"stream":true,"stream_options":{"include_usage":true}' in loopback.seen[0].body
    assert loopback.connections == 1


async def test_stall_is_seen_long_before_the_time_is_up(caller: Caller) -> None:
    """Half an answer and then silence: the call ends, is worth another, and may be billed."""
    script = streaming(EVENT_HEAD, framed(HELLO))
    async with asyncio.timeout(3):
        error = await failure(caller, script, stall_timeout_s=0.05, timeout_s=60)
    assert (type(error), error.code, error.maybe_billed) == (UpstreamUnavailable, "stalled", True)
    assert (error.scope, "for 0.05 s" in str(error)) == ("model", True)


async def test_keep_alive_comments_are_life(caller: Caller) -> None:
    """A queue at the provider may take longer than any silence is allowed to."""
    comments = [framed(b": keep-alive\n\n")] * 12
    script = streaming(EVENT_HEAD, *comments, framed(HELLO), framed(REST) + LAST_CHUNK, pause_s=0.02)
    async with running(script) as loopback:  # type: ignore[arg-type]
        answer = await caller.call(loopback.url, stream=True, stall_timeout_s=0.15)
    assert text_of(answer) == "hello"


async def test_first_byte_may_take_longer_than_a_stall(caller: Caller) -> None:
    """A model that is loaded first is no stall."""
    script = streaming(EVENT_HEAD, framed(HELLO + REST) + LAST_CHUNK, pause_s=0.1)
    async with running(script) as loopback:  # type: ignore[arg-type]
        answer = await caller.call(loopback.url, stream=True, stall_timeout_s=0.02)
    assert text_of(answer) == "hello"


CUTS = {
    "closed in the middle": (streaming(EVENT_HEAD, framed(HELLO), then="close"), "truncated"),
    "reset in the middle": (streaming(EVENT_HEAD, framed(HELLO), then="reset"), "truncated"),
    "ended without its end mark": (streaming(EVENT_HEAD, framed(HELLO) + LAST_CHUNK), "truncated"),
    "ended before it began": (streaming(EVENT_HEAD, LAST_CHUNK), "truncated"),
    "closed before it began": (streaming(EVENT_HEAD, then="close"), "truncated"),
    "no event": (streaming(EVENT_HEAD, framed(b"data: <html>\n\n") + LAST_CHUNK), "malformed"),
    "lines without an end": (
        streaming(HEAD.format("application/x-ndjson").encode(), framed(b'{"message": {}}\n') + LAST_CHUNK),
        "truncated",
    ),
}


@pytest.mark.parametrize("cut", CUTS)
async def test_cut_stream_is_a_failed_attempt(caller: Caller, cut: str) -> None:
    """Whatever came before is no answer, and may be billed."""
    script, code = CUTS[cut]
    error = await failure(caller, script)
    assert (type(error), error.code, error.maybe_billed) == (UpstreamUnavailable, code, True)


@pytest.mark.parametrize("then", ["stay", "reset"])
async def test_answer_is_complete_without_the_end_of_its_body(caller: Caller, then: str) -> None:
    """After the end mark nothing is missing; whoever keeps the body open does not keep the answer."""
    script = streaming(EVENT_HEAD, framed(HELLO + REST), then=then)
    async with running(script) as loopback:  # type: ignore[arg-type]
        async with asyncio.timeout(3):
            answer = await caller.call(loopback.url, stream=True)
        await asyncio.wait_for(loopback.hung_up.wait(), 3)
    assert text_of(answer) == "hello"


async def test_error_event_fails_the_call_and_may_be_billed(caller: Caller) -> None:
    """Classified by what it says, like an error in any 200."""
    event = sse({"error": {"code": 503, "message": "Provider disconnected"}})
    error = await failure(caller, streaming(EVENT_HEAD, framed(HELLO + event) + LAST_CHUNK))
    assert (error.code, error.maybe_billed) == ("server_error", True)
    assert "Provider disconnected" in str(error)


async def test_key_in_an_error_event_is_not_shown(caller: Caller) -> None:
    """Not even half of it."""
    key = "correct-horse-battery"
    event = sse({"error": {"message": "x" * 480 + key}})
    error = await failure(caller, streaming(EVENT_HEAD, framed(event) + LAST_CHUNK), key=SecretStr(key))
    assert "correct" not in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, {"code": "The service is currently unavailable", "error": "later"}), (503, {"error": "later"})],
)
async def test_error_in_place_of_a_stream_is_read(caller: Caller, status: int, body: dict[str, Any]) -> None:
    """JSON where a stream was asked for (xAI), or an error's status."""
    script = streaming(http_answer(body, status=status, headers="Content-Type: application/json\r\n"))
    assert "later" in str(await failure(caller, script))


async def test_whole_answer_in_place_of_a_stream_is_taken(caller: Caller) -> None:
    """Servers that do not stream answer as they always do."""
    async with running(streaming(http_answer(GOOD))) as loopback:  # type: ignore[arg-type]
        assert text_of(await caller.call(loopback.url, stream=True)) == "hello"


async def test_endless_stream_is_refused(caller: Caller) -> None:
    """What is kept of it is bounded, not what it takes to say it."""
    many = framed(sse(chunk({"content": "x" * 500})))
    error = await failure(caller, streaming(EVENT_HEAD, *[many] * 40), max_answer_bytes=5000)
    assert (type(error), error.code, error.maybe_billed) == (RequestRefused, "answer_too_large", True)


async def test_total_time_holds_for_streams(caller: Caller) -> None:
    """A stream that never stalls and never ends is ended by the total."""
    script = streaming(EVENT_HEAD, *[framed(HELLO)] * 200, pause_s=0.02)
    error = await failure(caller, script, timeout_s=0.2)
    assert (error.code, error.maybe_billed) == ("total_timeout", True)


async def test_given_up_stream_leaves_no_connection(caller: Caller) -> None:
    """A stalled stream's connection is cut: its rest belongs to nobody."""
    async with running(streaming(EVENT_HEAD, framed(HELLO))) as loopback:  # type: ignore[arg-type]
        with pytest.raises(UpstreamUnavailable):
            await caller.call(loopback.url, stream=True, stall_timeout_s=0.02)
        await asyncio.wait_for(loopback.hung_up.wait(), 3)
        assert loopback.open_connections == 0
