"""Connections, on real sockets: kept, given up, never mixed up; and what goes over them."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading

import orjson
import pytest

from shared.errors import CandidateUnfit, UpstreamUnavailable
from tests.support import wait_until
from tests.worker.upstream.conftest import KEY, Caller
from tests.worker.upstream.loopback import GOOD, GOOD_ANSWER, Conversation, chat_request, http_answer, running


async def good(conversation: Conversation) -> None:
    """Answer well and keep the connection."""
    conversation.writer.write(GOOD_ANSWER)


async def echo(conversation: Conversation) -> None:
    """Answer with the first message's text, a while later the larger its number."""
    text = orjson.loads(conversation.body)["messages"][0]["content"]
    await asyncio.sleep((hash(text) % 7) / 1000)
    message = {"role": "assistant", "content": text}
    conversation.writer.write(http_answer({**GOOD, "choices": [{"message": message}]}))


async def test_connection_is_kept_between_calls(caller: Caller) -> None:
    """Calls one after the other share one connection."""
    async with running(good) as loopback:
        upstream = caller.open(loopback.url)
        for _ in range(3):
            await upstream.call(chat_request(), "m", headers={}, timeout_s=5.0)
        assert loopback.connections == 1


async def test_many_calls_get_their_own_answers(caller: Caller) -> None:
    """Answers of 200 calls in flight, in any order, are never mixed up."""
    async with running(echo) as loopback:
        upstream = caller.open(loopback.url)

        async def say(text: str) -> str:
            request = chat_request(messages=[{"role": "user", "content": text}])
            answer = await upstream.call(request, "m", headers={}, timeout_s=10.0)
            return str(answer.response["choices"][0]["message"]["content"])

        texts = [f"number {number}" for number in range(200)]
        for _ in range(3):
            assert await asyncio.gather(*map(say, texts)) == texts


async def test_server_that_closes_silently_costs_nothing(caller: Caller) -> None:
    """A server that closes after each answer without a word never costs a call."""

    async def answer_and_close(conversation: Conversation) -> None:
        conversation.writer.write(GOOD_ANSWER)
        conversation.writer.close()

    async with running(answer_and_close) as loopback:
        upstream = caller.open(loopback.url)
        for _ in range(20):
            await upstream.call(chat_request(), "m", headers={}, timeout_s=5.0)
        assert len(loopback.seen) == 20


class ThreadServer:
    """Answers one request a connection; closes when told, while the client's loop stands still."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.may_close, self.has_closed = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for _ in range(2):
            connection, _ = self.listener.accept()
            with connection:
                head = b""
                while b"}]}" not in head and b"false}" not in head:
                    head += connection.recv(65536)
                connection.sendall(GOOD_ANSWER)
                self.may_close.wait(5)
            self.has_closed.set()

    def stop(self) -> None:
        self.may_close.set()
        self.thread.join(5)
        self.listener.close()


async def test_connection_closed_unseen_is_replaced(caller: Caller) -> None:
    """The FIN is in the kernel, the loop has not read it: nothing is sent there, a new connection is made."""
    server = ThreadServer()
    upstream = caller.open(server.url)
    await upstream.call(chat_request(), "m", headers={}, timeout_s=5.0)
    server.may_close.set()
    server.has_closed.wait(5)  # blocks the loop, so that it cannot learn of the FIN
    answer = await upstream.call(chat_request(), "m", headers={}, timeout_s=5.0)
    server.stop()
    assert answer.finish_reason == "stop"


async def test_reset_after_sending_is_not_sent_again(caller: Caller) -> None:
    """The server took the request and reset: one request was made, and it may be billed."""

    async def reset_second(conversation: Conversation) -> None:
        if conversation.position:
            conversation.reset()
        else:
            conversation.writer.write(GOOD_ANSWER)

    async with running(reset_second) as loopback:
        upstream = caller.open(loopback.url)
        await upstream.call(chat_request(), "m", headers={}, timeout_s=5.0)
        with pytest.raises(UpstreamUnavailable) as caught:
            await upstream.call(chat_request(), "m", headers={}, timeout_s=5.0)
        assert len(loopback.seen) == 2
    assert (caught.value.code, caught.value.maybe_billed) == ("connection_lost", True)


async def test_surplus_answer_is_not_taken_for_the_next(caller: Caller) -> None:
    """A server that answers twice loses its connection; the second answer belongs to nobody."""

    async def answer_twice(conversation: Conversation) -> None:
        stray = http_answer({**GOOD, "choices": [{"message": {"content": "stray"}}]})
        conversation.writer.write(GOOD_ANSWER + stray)

    async with running(answer_twice) as loopback:
        upstream = caller.open(loopback.url)
        for _ in range(3):
            answer = await upstream.call(chat_request(), "m", headers={}, timeout_s=5.0)
            assert answer.response["choices"][0]["message"]["content"] == "hello"


async def test_closing_ends_calls_in_flight(caller: Caller) -> None:
    """Closing an upstream leaves no call hanging: each fails as a lost connection."""
    arrived = asyncio.Event()

    async def hold(conversation: Conversation) -> None:
        arrived.set()

    async with running(hold) as loopback:
        upstream = caller.open(loopback.url)
        call = asyncio.create_task(upstream.call(chat_request(), "m", headers={}, timeout_s=5.0))
        await asyncio.wait_for(arrived.wait(), 5)
        await upstream.close()
        with pytest.raises(UpstreamUnavailable) as caught:
            await call
    assert caught.value.code == "connection_lost"


async def test_failed_calls_leave_no_descriptors(caller: Caller) -> None:
    """Refused, reset and timed-out calls give their sockets back."""

    async def fail(conversation: Conversation) -> None:
        if conversation.header("X-Source") == "reset":
            conversation.reset()

    async with running(fail) as loopback:
        upstream = caller.open(loopback.url)
        refused = caller.open("http://127.0.0.1:1")
        for source in ["reset", "hang"] * 10:
            for target in (upstream, refused):
                with pytest.raises(UpstreamUnavailable):
                    await target.call(chat_request(), "m", headers={"X-Source": source}, timeout_s=0.05)
        await wait_until(lambda: loopback.open_connections == 0)


async def test_redirect_is_refused_with_its_status(caller: Caller) -> None:
    """The key is not carried to wherever a redirect points."""

    async def redirect(conversation: Conversation) -> None:
        conversation.writer.write(http_answer(b"", status=307, headers="Location: /elsewhere\r\n"))

    async with running(redirect) as loopback:
        with pytest.raises(CandidateUnfit) as caught:
            await caller.call(loopback.url)
        assert len(loopback.seen) == 1
    assert (caught.value.code, caught.value.status) == ("redirected", 307)


async def test_cookies_are_not_kept(caller: Caller) -> None:
    """Calls of different jobs share nothing but the connection."""

    async def bake(conversation: Conversation) -> None:
        conversation.writer.write(http_answer(GOOD, headers="Set-Cookie: job=1\r\n"))

    async with running(bake) as loopback:
        upstream = caller.open(loopback.url)
        for _ in range(2):
            await upstream.call(chat_request(), "m", headers={}, timeout_s=5.0)
        assert loopback.seen[1].header("Cookie") is None


async def test_head_holds_key_name_and_labels(caller: Caller) -> None:
    """Key, own User-Agent and the call's labels go out; compression is not offered."""
    async with running(good) as loopback:
        await caller.call(loopback.url, labels={"X-Source": "nightly", "X-Chatq-Job": "j1"})
        sent = loopback.seen[0]
    names = ("Authorization", "X-Source", "X-Chatq-Job", "Accept-Encoding", "Content-Type")
    assert [sent.header(name) for name in names] == [
        f"Bearer {KEY}", "nightly", "j1", "identity", "application/json",
    ]  # fmt: skip
    assert str(sent.header("User-Agent")).startswith("chatq/")


async def test_label_cannot_add_a_header(caller: Caller) -> None:
    """A source label from a stranger stays one header, whatever is in it."""
    async with running(good) as loopback:
        await caller.call(loopback.url, labels={"X-Source": "a\r\nX-Evil: 1\r\n\r\né"})
        assert loopback.seen[0].header("X-Evil") is None
        assert loopback.seen[0].header("X-Source") == "a%0D%0AX-Evil: 1%0D%0A%0D%0A%C3%A9"


async def test_large_request_arrives_whole(caller: Caller) -> None:
    """A request of 3 MiB, larger than any socket buffer, arrives as it was."""
    text = "word " * (3 * 1024 * 1024 // 5)
    async with running(good) as loopback:
        await caller.call(loopback.url, chat_request(messages=[{"role": "user", "content": text}]))
        assert orjson.loads(loopback.seen[0].body)["messages"][0]["content"] == text


ODD_BUT_GOOD = {
    "blank lines first": http_answer(b"\r\n\n  " + orjson.dumps(GOOD)),
    "gzip though not offered": http_answer(
        gzip.compress(orjson.dumps(GOOD)), headers="Content-Encoding: gzip\r\n"
    ),
    "continue first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + GOOD_ANSWER,
    "array of one": http_answer(orjson.dumps([GOOD])),
    "status 201": http_answer(GOOD, status=201),
}


@pytest.mark.parametrize("oddity", ODD_BUT_GOOD)
async def test_odd_answer_is_still_read(caller: Caller, oddity: str) -> None:
    """Answers that are unusual but whole are answers."""

    async def script(conversation: Conversation) -> None:
        conversation.writer.write(ODD_BUT_GOOD[oddity])

    async with running(script) as loopback:
        answer = await caller.call(loopback.url)
    assert answer.response["choices"][0]["message"]["content"] == "hello"


async def test_body_until_close_is_read(caller: Caller) -> None:
    """An answer without a length ends where the connection does."""

    async def script(conversation: Conversation) -> None:
        conversation.writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + orjson.dumps(GOOD))
        conversation.writer.close()

    async with running(script) as loopback:
        assert (await caller.call(loopback.url)).finish_reason == "stop"
