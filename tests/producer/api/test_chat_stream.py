"""Streamed chat completions over HTTP: shape, failures, keep-alive, reconnecting, connections that are dropped."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import openai
import orjson
import pytest

from producer import Producer
from producer.api import event_stream
from shared.background import end_tasks
from shared.job import JobError, JobState
from shared.store.connect import Store
from shared.store.deltas import Append, append_deltas
from shared.store.grants import Grant
from tests.producer.api.conftest import CHAT, Hand
from tests.support import wait_until

Worker = subprocess.Popen[bytes]

ASKED = {**CHAT, "stream": True}


class Stream:
    """A streamed call under way, and what has come of it."""

    def __init__(self, api: httpx.AsyncClient, **headers: str) -> None:
        self.status = 0
        self.headers = httpx.Headers()
        self.lines: list[str] = []
        self._task = asyncio.create_task(self._follow(api, headers))

    async def _follow(self, api: httpx.AsyncClient, headers: dict[str, str]) -> None:
        async with api.stream("POST", "/chat/completions", json=ASKED, headers=headers) as response:
            self.status, self.headers = response.status_code, response.headers
            async for line in response.aiter_lines():
                self.lines.append(line)

    @property
    def data(self) -> list[Any]:
        return [
            text if (text := line.removeprefix("data: ")) == "[DONE]" else orjson.loads(text)
            for line in self.lines
            if line.startswith("data: ")
        ]

    @property
    def ids(self) -> list[str]:
        return [line.removeprefix("id: ") for line in self.lines if line.startswith("id: ")]

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for one in self.data if isinstance(one, dict) for choice in one["choices"]]

    @property
    def text(self) -> str:
        return "".join(choice["delta"].get("content", "") for choice in self.choices)

    async def until(self, is_true: Callable[[], bool]) -> None:
        await wait_until(lambda: is_true() or self._task.done())
        assert is_true()

    async def ended(self) -> None:
        await asyncio.wait_for(self._task, 20)

    async def drop(self) -> None:
        await end_tasks(self._task)


Begin = Callable[..., Stream]


@pytest.fixture
async def begin(api: httpx.AsyncClient) -> AsyncIterator[Begin]:
    """Starts streamed calls; drops what is left of them."""
    begun: list[Stream] = []

    def start(**headers: str) -> Stream:
        begun.append(Stream(api, **headers))
        return begun[-1]

    yield start
    for stream in begun:
        await stream.drop()


async def claim(hand: Hand) -> Grant:
    async with asyncio.timeout(10):
        while not (grants := await hand.claim()):
            await asyncio.sleep(0.01)
    return grants[0]


async def tell(store: Store, grant: Grant, first: int, *texts: str) -> None:
    pieces = [orjson.dumps([{"index": 0, "delta": {"content": text}}]) for text in texts]
    assert await append_deltas(store, [Append(grant.job_id, grant.token, first, pieces)], retry_s=5) == [True]


async def test_chunks_are_openais(begin: Begin, worker: Worker) -> None:
    """One id and time, the role first, why it finished last, and the mark of the end."""
    stream = begin()
    await stream.ended()
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    *chunks, done = stream.data
    assert done == "[DONE]"
    assert len({(one["id"], one["created"], one["object"], one["model"]) for one in chunks}) == 1
    assert (chunks[0]["object"], chunks[0]["model"]) == ("chat.completion.chunk", CHAT["model"])
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [choice["finish_reason"] for choice in stream.choices][-2:] == [None, "stop"]
    assert not any("usage" in one for one in chunks)


async def test_streamed_answer_is_the_plain_one(api: httpx.AsyncClient, begin: Begin, worker: Worker) -> None:
    """In pieces that come together to the same text."""
    plain = (await api.post("/chat/completions", json=CHAT)).json()
    stream = begin()
    await stream.ended()
    assert stream.text == plain["choices"][0]["message"]["content"]
    assert len(stream.choices) > 4
    assert stream.ids == [str(number) for number in range(1, len(stream.choices) + 1)]


async def test_official_client_streams_with_usage(api: httpx.AsyncClient, worker: Worker) -> None:
    """The tokens come in a chunk of their own, without choices."""
    async with openai.AsyncOpenAI(base_url=str(api.base_url), api_key="none") as client:
        stream = await client.chat.completions.create(
            **CHAT,  # type: ignore[call-overload]
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [one async for one in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0
    assert all(one.usage is None for one in chunks[:-1])


async def test_pieces_come_before_the_answer_is_whole(begin: Begin, hand: Hand, store: Store) -> None:
    stream = begin()
    grant = await claim(hand)
    await tell(store, grant, 1, "hel")
    await stream.until(lambda: stream.text == "hel")
    await tell(store, grant, 2, "lo")
    await stream.until(lambda: stream.text == "hello")
    await hand.answer(grant, "hello")
    await stream.ended()
    assert stream.choices[-1] == {"index": 0, "delta": {}, "finish_reason": "stop"}


async def test_answer_that_never_streamed_is_one_chunk(begin: Begin, hand: Hand) -> None:
    stream = begin()
    await hand.answer(await claim(hand), "hello")
    await stream.ended()
    delta = {"role": "assistant", "content": "hello"}
    assert stream.choices == [{"index": 0, "delta": delta, "finish_reason": "stop"}]


async def test_what_pieces_left_out_comes_with_the_end(begin: Begin, hand: Hand, store: Store) -> None:
    """Deltas may be dropped; the answer never is."""
    stream = begin()
    grant = await claim(hand)
    await tell(store, grant, 1, "hel")
    await hand.answer(grant, "hello, world")
    await stream.ended()
    assert (stream.text, stream.ids) == ("hello, world", ["1", "2"])


async def test_early_failure_has_a_status(begin: Begin, hand: Hand) -> None:
    stream = begin()
    await hand.fail(await claim(hand), JobError("context_too_long", "too long", 400))
    await stream.ended()
    assert stream.status == 400
    assert orjson.loads(stream.lines[0])["error"]["code"] == "context_length_exceeded"


async def test_late_failure_is_an_event(begin: Begin, hand: Hand, store: Store) -> None:
    """An SDK raises at it; nothing follows it."""
    stream = begin()
    grant = await claim(hand)
    await tell(store, grant, 1, "hel")
    await stream.until(lambda: stream.text == "hel")
    await hand.fail(grant, JobError("stream_broken", "the answer broke off", None, "ollama"))
    await stream.ended()
    assert stream.status == 200
    assert stream.data[-1]["error"]["code"] == "stream_broken"


async def test_waiting_stream_is_kept_alive(
    begin: Begin, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head comes in time for the client's patience, and comments after it."""
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_S", 0.05)
    stream = begin(**{"x-stainless-read-timeout": "0.1"})
    await stream.until(lambda: stream.lines.count(": keep-alive") >= 3)
    await hand.answer(await claim(hand), "hello")
    await stream.ended()
    assert (stream.status, stream.text) == (200, "hello")


async def test_same_key_goes_on_after_the_last_event(begin: Begin, hand: Hand, store: Store) -> None:
    """A client that lost its connection misses nothing, gets nothing twice, and is billed once."""
    first = begin(**{"Idempotency-Key": "k"})
    grant = await claim(hand)
    await tell(store, grant, 1, "a", "b", "c")
    await first.until(lambda: first.text == "abc")
    again = begin(**{"Idempotency-Key": "k", "Last-Event-ID": "2"})
    await again.until(lambda: again.text == "c")
    await tell(store, grant, 4, "d")
    await hand.answer(grant, "abcd")
    await again.ended()
    assert (again.text, again.ids) == ("cd", ["3", "4", "5"])


async def test_dropped_stream_cancels_its_job(
    begin: Begin, producer: Producer, hand: Hand, store: Store
) -> None:
    stream = begin()
    grant = await claim(hand)
    await tell(store, grant, 1, "a")
    await stream.until(lambda: stream.text == "a")
    await stream.drop()
    assert (await producer.wait(grant.job_id, timeout_s=20)).state is JobState.CANCELLED


async def test_dropped_stream_leaves_a_job_that_others_follow(
    api: httpx.AsyncClient, begin: Begin, hand: Hand, store: Store
) -> None:
    stream = begin()
    grant = await claim(hand)
    async with api.stream("GET", f"/jobs/{grant.job_id}/events") as events:
        lines = events.aiter_lines()
        await tell(store, grant, 1, "a")
        while '"content":"a"' not in await anext(lines):
            pass
        await stream.until(lambda: stream.text == "a")
        await stream.drop()
        await tell(store, grant, 2, "b")
        while '"content":"b"' not in await anext(lines):
            pass
        await hand.answer(grant, "ab")
        assert "event: end" in [line async for line in lines]


async def test_dropped_stream_with_a_key_can_be_taken_up_again(
    begin: Begin, hand: Hand, store: Store
) -> None:
    first = begin(**{"Idempotency-Key": "k"})
    grant = await claim(hand)
    await tell(store, grant, 1, "a")
    await first.until(lambda: first.text == "a")
    await first.drop()
    again = begin(**{"Idempotency-Key": "k", "Last-Event-ID": "1"})
    await tell(store, grant, 2, "b")
    await hand.answer(grant, "abc")
    await again.ended()
    assert again.text == "bc"


async def test_last_event_of_another_call_hides_nothing(begin: Begin, hand: Hand, store: Store) -> None:
    """Libraries for events send it by themselves when they connect anew; without a key that is another job."""
    stream = begin(**{"Last-Event-ID": "2"})
    grant = await claim(hand)
    await tell(store, grant, 1, "a", "b", "c")
    await hand.answer(grant, "abc")
    await stream.ended()
    assert stream.text == "abc"


async def test_pieces_that_are_gone_are_an_error(begin: Begin, hand: Hand, store: Store) -> None:
    """A client that comes back too late must not take what it has for the whole answer."""
    first = begin(**{"Idempotency-Key": "k"})
    grant = await claim(hand)
    await tell(store, grant, 1, "a", "b", "c")
    await hand.answer(grant, "abcd")
    await first.ended()
    await store.client.delete(f"chatq:deltas:{grant.job_id}")
    again = begin(**{"Idempotency-Key": "k", "Last-Event-ID": "2"})
    await again.ended()
    assert again.status == 404
