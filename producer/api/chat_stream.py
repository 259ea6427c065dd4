"""A streamed chat completion: the pieces of a job's answer as server-sent events (docs/openai-wire.md §5.2).

Each event has the id of its delta: with it in `Last-Event-ID`, the same call under the same `Idempotency-Key` goes
on after it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response

from producer.answer_stream import follow_answer
from producer.api.call import Call
from producer.api.event_stream import EventStream, data_event
from producer.api.failure import failure
from producer.api.held import cancel_if_dropped
from shared.job import Job, JobState
from shared.store.deltas import Delta

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
        return data_event({**self._opening, "choices": [], "usage": response.get("usage")}) + _DONE


class ChatStream(EventStream):
    """Relays a job's answer."""

    def __init__(self, call: Call, job_id: str, chunks: Chunks) -> None:
        super().__init__(call, {"x-chatq-job": job_id})
        self._job_id = job_id
        self._chunks = chunks

    async def events(self) -> AsyncGenerator[bytes, None]:
        """See `EventStream.events`."""
        # Without a key this is a new job: nobody has seen a part of its answer, whatever a client's library sends.
        is_again = self._call.idempotency_key is not None
        after = self._call.headers.get("last-event-id") if is_again else None
        async with aclosing(follow_answer(self._call.services.producer, self._job_id, after=after)) as parts:
            async for part in parts:
                yield self._bytes_of(part)

    async def left(self) -> None:
        """See `EventStream.left`."""
        await cancel_if_dropped(self._call, self._job_id)

    def _bytes_of(self, part: Delta | Job) -> bytes:
        if isinstance(part, Delta):
            return self._chunks.of_delta(part)
        if part.state is not JobState.COMPLETED or part.response is None:
            raise failure(part)
        return self._chunks.of_end(part.response)
