"""A streamed chat completion: the pieces of a job's answer as server-sent events (docs/openai-wire.md §5.2).

The head is delayed for as long as is safe, for with it the status is said; what fails later is an event. Comments
keep a silent connection alive. Each event has the id of its delta: with it in `Last-Event-ID`, the same call under
the same `Idempotency-Key` goes on after it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from producer.answer_stream import follow_answer
from producer.api.call import Call, json_answer
from producer.api.connection import disconnected
from producer.api.errors import ApiError, as_api_error
from producer.api.failure import failure
from producer.api.held import cancel_if_dropped, head_delay_s
from shared.background import end_tasks
from shared.errors import ChatqError
from shared.job import Job, JobState
from shared.store.deltas import Delta

MOST_HEAD_S = 10.0
"""Longest delay of the head. A stream can say that it lives, so it is shorter than that of a plain answer."""

KEEP_ALIVE_S = 5.0
"""Interval of the comments. Some clients end a connection that is silent for 10 s."""

_KEEP_ALIVE = b": keep-alive\n\n"
_DONE = b"data: [DONE]\n\n"
_CHUNK = "chat.completion.chunk"


async def stream_chat(call: Call, job_id: str, *, model: str, include_usage: bool = False) -> Response:
    """The answer of a job, streamed.

    A caller that goes away may cancel the job (`cancel_if_dropped`).

    Args:
        job_id: Submitted with `Submission.stream`; any other job's answer comes as one chunk.
        model: As the chunks name it.
        include_usage: Whether a last chunk tells the tokens (`stream_options.include_usage`).
    """
    return ChatStream(call, job_id, Chunks(job_id, model, include_usage=include_usage))


class Chunks:
    """Events of one stream, as bytes; id and time of making are the same in all of them."""

    def __init__(self, job_id: str, model: str, *, include_usage: bool) -> None:
        self._opening = {
            "id": f"chatcmpl-{job_id}",
            "object": _CHUNK,
            "created": int(time.time()),
            "model": model,
        }
        self._before = orjson.dumps(self._opening)[:-1] + b',"choices":'
        self._after = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._include_usage = include_usage

    def of_delta(self, delta: Delta) -> bytes:
        """A piece of the answer."""
        choices = orjson.dumps(delta.choices)
        return b"id: %b\ndata: %b%b%b" % (delta.id.encode(), self._before, choices, self._after)

    def of_end(self, response: dict[str, Any]) -> bytes:
        """After the last piece."""
        if not self._include_usage:
            return _DONE
        return _event({**self._opening, "choices": [], "usage": response.get("usage")}) + _DONE


class ChatStream(Response):
    """Relays a job's answer; an error before the first byte has a status of its own."""

    def __init__(self, call: Call, job_id: str, chunks: Chunks) -> None:
        self.background = None
        self._call = call
        self._job_id = job_id
        self._chunks = chunks
        self._has_head = False
        self._is_over = False
        self._is_silent = True
        self._sending = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI)."""
        relaying = asyncio.create_task(self._relay(scope, receive, send), name="chat-stream")
        leaving = asyncio.create_task(disconnected(receive), name="chat-stream-connection")
        beating = asyncio.create_task(self._keep_alive(send), name="chat-stream-beat")
        try:
            await asyncio.wait((relaying, leaving), return_when=asyncio.FIRST_COMPLETED)
            has_left = not relaying.done()
        finally:
            await end_tasks(relaying, leaving, beating)
        if has_left:
            await cancel_if_dropped(self._call, self._job_id)
        else:
            relaying.result()

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Without a key this is a new job: nobody has seen a part of its answer, whatever a client's library sends.
        is_again = self._call.idempotency_key is not None
        after = self._call.request.headers.get("last-event-id") if is_again else None
        try:
            async with aclosing(
                follow_answer(self._call.services.producer, self._job_id, after=after)
            ) as parts:
                async for part in parts:
                    await self._say(send, self._bytes_of(part))
        except ApiError as exc:
            error = exc
        except ChatqError as exc:
            error = as_api_error(exc)
        else:
            await self._say(send, b"", is_last=True)
            return
        if self._has_head:
            await self._say(send, _event(error.envelope()), is_last=True)
            return
        self._has_head = self._is_over = True
        await json_answer(error.envelope(), error.status, error.headers)(scope, receive, send)

    def _bytes_of(self, part: Delta | Job) -> bytes:
        if isinstance(part, Delta):
            return self._chunks.of_delta(part)
        if part.state is not JobState.COMPLETED or part.response is None:
            raise failure(part)
        return self._chunks.of_end(part.response)

    async def _keep_alive(self, send: Send) -> None:
        await asyncio.sleep(min(head_delay_s(self._call), MOST_HEAD_S))
        while True:
            if self._is_silent:
                await self._say(send, _KEEP_ALIVE)
            self._is_silent = True
            await asyncio.sleep(KEEP_ALIVE_S)

    async def _say(self, send: Send, data: bytes, *, is_last: bool = False) -> None:
        async with self._sending:
            if self._is_over:  # a comment that comes too late
                return
            self._is_over, self._is_silent = is_last, False
            if not self._has_head:
                self._has_head = True
                await send(_head(self._job_id))
            await send({"type": "http.response.body", "body": data, "more_body": not is_last})


def _head(job_id: str) -> Message:
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),  # nginx would gather the events otherwise
        (b"x-chatq-job", job_id.encode()),
    ]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(value)
