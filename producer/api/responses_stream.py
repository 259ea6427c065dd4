"""A streamed response: its events as they come, or once more for a client that comes back (openai-wire.md §8.5)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson

from producer.api.call import Call
from producer.api.errors import as_api_error
from producer.api.event_stream import EventStream
from producer.api.held import cancel_if_dropped
from producer.responses.answer import unfinished
from producer.responses.events import Event, ResponseEvents
from producer.responses.ids import job_id_of
from shared.errors import ChatqError, JobNotFound
from shared.store.deltas import TTL_S as DELTAS_TTL_S
from shared.store.responses import StoredResponse


class ResponseStream(EventStream):
    """Relays the events of a response. A caller that goes away may end one in the foreground (`cancel_if_dropped`).

    Args:
        after: Number of the last event that the caller has; -1 = none.
    """

    def __init__(self, call: Call, response: StoredResponse, *, after: int = -1) -> None:
        super().__init__(call)
        self._response = response
        self._after = after

    async def events(self) -> AsyncGenerator[bytes, None]:
        """See `EventStream.events`; errors are events of the response's own kind."""
        async with aclosing(events(self._call, self._response)) as made:
            async for event in made:
                if event["sequence_number"] > self._after:
                    yield _encoded(event)

    async def left(self) -> None:
        """See `EventStream.left`."""
        if not self._response.asked["background"]:
            await cancel_if_dropped(self._call, job_id_of(self._response.id))


async def events(call: Call, response: StoredResponse) -> AsyncGenerator[Event, None]:
    """All events of a response from the first on, to its end; the last one may be an error of chatq's."""
    first = unfinished(response.asked, response.id, created_at=response.created_at)
    made = ResponseEvents(first)
    for event in made.begin():
        yield event
    try:
        async with aclosing(_deltas(call, response)) as deltas:
            async for choices in deltas:
                for event in made.add(choices):
                    yield event
        for event in made.end(await call.services.responses.now(response)):
            yield event
    except ChatqError as exc:
        error = as_api_error(exc)
        about = {"code": error.code, "message": str(error), "param": error.param}
        # Not one of the response's own events: who comes back with its number goes on after the one before.
        yield {"type": "error", "sequence_number": made.last_number, **about}


async def _deltas(call: Call, response: StoredResponse) -> AsyncGenerator[list[dict[str, object]], None]:
    """Choices as they come, until the job has ended."""
    producer, job_id = call.services.producer, job_id_of(response.id)
    if response.stream:
        async with aclosing(producer.deltas.follow(job_id)) as deltas:
            async for delta in deltas:
                yield delta.choices
    elif response.outcome is None:
        try:
            await producer.wait(job_id)
        except JobNotFound:
            return  # its end is told by what was kept of it


async def is_log_gone(call: Call, response: StoredResponse) -> bool:
    """Whether the events cannot be made again: the job has ended, and its deltas have been dropped since.

    Raises:
        StoreUnavailable: No answer from Redis.
    """
    producer, job_id = call.services.producer, job_id_of(response.id)
    (job,) = await producer.get_many([job_id])
    if not response.stream or (job is not None and not job.state.is_terminal):
        return False
    if job is not None and job.ended_at is not None and job.ended_at + DELTAS_TTL_S / 2 > time.time():
        return False
    async with aclosing(producer.deltas.follow(job_id)) as deltas:
        return await anext(deltas, None) is None


def _encoded(event: Event) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))
