"""Streamed jobs end to end: a real worker, a provider that says when each piece comes, and a follower."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from producer import Job, JobState, Producer, Submission
from shared.store.deltas import Delta
from tests.support import RedisServer, WorkerRunner, ended, wait_until
from tests.worker.upstream.loopback import Conversation, http_answer, running
from tests.worker.upstream.streams.recorded import chunk, ndjson, sse

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = HEAD.format("text/event-stream").encode()
LINES = HEAD.format("application/x-ndjson").encode()

OPENING = sse(chunk({"role": "assistant", "content": ""}))
HELLO = sse(chunk({"content": "hel"}))
REST = sse(chunk({"content": "lo"}), chunk({}, "stop"), done=True)


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Provider:
    """Answers each call as its script says, the last one from then on; what has to wait waits to be let go."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self.let_go = asyncio.Event()
        self.has_answered = asyncio.Event()
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, conversation: Conversation) -> None:
        self.asked.append(orjson.loads(conversation.body))
        script = self._scripts[min(len(self.asked), len(self._scripts)) - 1]
        await script(self, conversation)
        self.has_answered.set()


Script = Callable[[Provider, Conversation], Awaitable[None]]


async def answers(provider: Provider, conversation: Conversation) -> None:
    """A first piece; the rest when it is let go."""
    conversation.writer.write(EVENTS + framed(OPENING + HELLO))
    await provider.let_go.wait()
    conversation.writer.write(framed(REST) + b"0\r\n\r\n")


async def breaks_off(provider: Provider, conversation: Conversation) -> None:
    """A first piece; the connection is lost when it is let go."""
    conversation.writer.write(EVENTS + framed(OPENING + HELLO))
    await provider.let_go.wait()
    conversation.reset()


async def breaks_off_early(_: Provider, conversation: Conversation) -> None:
    """An answer that ends before its first piece of text."""
    conversation.writer.write(EVENTS + framed(OPENING) + b"0\r\n\r\n")


async def is_overloaded(_: Provider, conversation: Conversation) -> None:
    conversation.writer.write(http_answer(b"{}", status=503))


async def answers_at_once(_: Provider, conversation: Conversation) -> None:
    """In one piece, though it was asked for a stream."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    conversation.writer.write(http_answer({"choices": [choice]}))


async def answers_in_lines(_: Provider, conversation: Conversation) -> None:
    """As Ollama does."""
    lines = [{"message": {"role": "assistant", "content": text}, "done": False} for text in ("hel", "lo")]
    last = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True}
    conversation.writer.write(LINES + framed(ndjson(*lines, last)) + b"0\r\n\r\n")


class Followed:
    """A job, and what has come of its answer."""

    def __init__(self, producer: Producer, job_id: str) -> None:
        self.job_id = job_id
        self.deltas: list[Delta] = []
        self._producer = producer
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for delta in self._producer.deltas.follow(self.job_id):
            self.deltas.append(delta)

    @property
    def text(self) -> str:
        return "".join(choice["delta"].get("content", "") for one in self.deltas for choice in one.choices)

    async def begun(self) -> None:
        """Its first piece is there."""
        await wait_until(lambda: self.text == "hel")

    async def job(self) -> Job:
        """As it ended; the following ends with it."""
        await asyncio.wait_for(self._task, 30)
        return await self._producer.get(self.job_id)


Serve = Callable[..., Awaitable[None]]


@pytest.fixture
async def serve(workers: WorkerRunner) -> AsyncIterator[Serve]:
    """Makes a provider the one that everything goes to, and starts a worker."""
    async with AsyncExitStack() as stack:

        async def start(provider: Provider, **env: str) -> None:
            loopback = await stack.enter_async_context(running(provider))
            workers.env["CHATQ_PROVIDERS__OPENROUTER__BASE_URL"] = loopback.url
            workers.env["CHATQ_PROVIDERS__OLLAMA__BASE_URL"] = loopback.url
            workers.env["CHATQ_JOBS__BACKOFF_BASE_S"] = "0.05"
            workers.start(**env)

        yield start


async def submit(producer: Producer, model: str = "openrouter/m", **fields: Any) -> Followed:
    request = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    (job_id,) = await producer.submit_many([Submission(request, stream=True)])
    assert isinstance(job_id, str)
    return Followed(producer, job_id)


async def test_pieces_are_followed_while_the_answer_comes(serve: Serve, producer: Producer) -> None:
    """The provider is asked for a stream, whatever its setting says."""
    provider = Provider(answers)
    await serve(provider)
    followed = await submit(producer)
    await followed.begun()
    assert (await producer.get(followed.job_id)).state is JobState.IN_PROGRESS
    provider.let_go.set()
    job = await followed.job()
    assert (followed.text, job.text, provider.asked[0]["stream"]) == ("hello", "hello", True)
    assert [one.id for one in followed.deltas] == ["1", "2", "3"]
    assert followed.deltas[-1].choices == [{"index": 0, "delta": {}, "finish_reason": "stop"}]


async def test_lines_of_ollama_are_pieces_too(serve: Serve, producer: Producer) -> None:
    await serve(Provider(answers_in_lines))
    followed = await submit(producer, "ollama/m")
    assert (await followed.job()).text == followed.text == "hello"
    assert followed.deltas[0].choices[0]["delta"] == {"role": "assistant", "content": "hel"}


async def test_answer_in_one_piece_has_no_deltas(serve: Serve, producer: Producer) -> None:
    await serve(Provider(answers_at_once))
    followed = await submit(producer)
    assert (await followed.job()).text == "hello"
    assert followed.deltas == []


@pytest.mark.parametrize("fails", [is_overloaded, breaks_off_early])
async def test_failure_before_the_first_piece_is_retried(
    serve: Serve, producer: Producer, fails: Script
) -> None:
    provider = Provider(fails, answers)
    provider.let_go.set()
    await serve(provider)
    followed = await submit(producer)
    job = await followed.job()
    assert (job.text, job.attempts, followed.text) == ("hello", 2, "hello")


async def test_failover_before_the_first_piece(serve: Serve, producer: Producer) -> None:
    """The first candidate does not know the model; the second streams."""

    async def unknown(_: Provider, conversation: Conversation) -> None:
        error = {"error": {"message": "model 'm' not found", "code": "model_not_found"}}
        conversation.writer.write(http_answer(error, status=404))

    provider = Provider(unknown, answers)
    provider.let_go.set()
    await serve(provider)
    followed = await submit(producer, fallbacks=["openrouter/other"])
    job = await followed.job()
    assert (job.text, followed.text) == ("hello", "hello")
    assert [asked["model"] for asked in provider.asked] == ["m", "other"]


async def test_failure_after_the_first_piece_ends_the_job(serve: Serve, producer: Producer) -> None:
    """Another answer would not go on where this one stopped: neither a retry nor a fallback."""
    provider = Provider(breaks_off)
    await serve(provider)
    followed = await submit(producer, fallbacks=["openrouter/other"])
    await followed.begun()
    provider.let_go.set()
    job = await followed.job()
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "stream_broken")
    assert (len(provider.asked), followed.text) == (1, "hel")


async def test_killed_worker_breaks_its_streams(
    serve: Serve, producer: Producer, workers: WorkerRunner
) -> None:
    """The next worker ends them, and nothing is asked twice; what nobody has seen a piece of is asked again."""

    async def hangs(provider: Provider, _: Conversation) -> None:
        await provider.let_go.wait()

    provider = Provider(hangs, breaks_off, answers)
    await serve(provider, CHATQ_WORKER__LEASE_S="0.5", CHATQ_WORKER__RENEW_S="0.1")
    unseen = await submit(producer)
    await wait_until(lambda: len(provider.asked) == 1)
    begun = await submit(producer)
    await begun.begun()
    workers.processes[0].kill()
    provider.let_go.set()
    workers.start()
    job = await begun.job()
    assert (job.state, job.error and job.error.code, begun.text) == (JobState.FAILED, "stream_broken", "hel")
    assert (await unseen.job()).text == unseen.text == "hello"
    assert len(provider.asked) == 3


async def test_worker_that_stops_breaks_what_it_streams(
    serve: Serve, producer: Producer, workers: WorkerRunner
) -> None:
    """Given back, the job could only be begun anew."""
    provider = Provider(breaks_off)
    await serve(provider, CHATQ_WORKER__GRACE_S="0.1")
    followed = await submit(producer)
    await followed.begun()
    workers.processes[0].send_signal(signal.SIGTERM)
    job = await followed.job()
    assert job.error is not None
    assert job.error.code == "stream_broken"
    assert await ended(workers.processes[0]) == 0


async def test_cancelled_job_ends_its_stream(serve: Serve, producer: Producer) -> None:
    await serve(Provider(breaks_off))
    followed = await submit(producer)
    await followed.begun()
    await producer.cancel(followed.job_id)
    assert (await followed.job()).state is JobState.CANCELLED


async def test_plain_job_leaves_no_deltas(
    serve: Serve, producer: Producer, redis_server: RedisServer
) -> None:
    """Nor is its provider asked for a stream."""
    provider = Provider(answers_at_once)
    await serve(provider)
    request = {"model": "openrouter/m", "messages": [{"role": "user", "content": "hi"}]}
    job = await producer.wait(await producer.submit(request), timeout_s=20)
    assert (job.text, provider.asked[0]["stream"]) == ("hello", False)
    with redis_server.client() as client:
        assert client.keys("chatq:deltas:*") == []


async def test_outage_of_redis_costs_pieces_but_not_the_answer(
    serve: Serve, producer: Producer, redis_server: RedisServer
) -> None:
    """The call goes on while the store stands still; who follows gets all of it afterwards."""
    provider = Provider(answers)
    await serve(provider)
    followed = await submit(producer)
    await followed.begun()
    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)
    provider.let_go.set()
    await provider.has_answered.wait()
    redis_server.process.send_signal(signal.SIGCONT)
    assert (await followed.job()).text == "hello"
