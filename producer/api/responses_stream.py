"""A streamed response: its events as they come, or once more for a client that comes back (openai-wire.md §8.5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from producer.api.call import Call
from producer.api.connection import disconnected
from producer.api.errors import as_api_error
from producer.api.held import cancel_if_dropped
from producer.responses.answer import unfinished
from producer.responses.events import Event, ResponseEvents
from producer.responses.ids import job_id_of
from shared.background import end_tasks
from shared.errors import ChatqError, JobNotFound
from shared.store.deltas import TTL_S as DELTAS_TTL_S
from shared.store.responses import StoredResponse

KEEP_ALIVE_S = 5.0
"""Interval of the comments. Some clients end a connection that is silent for 10 s."""

_KEEP_ALIVE = b": keep-alive\n\n"


class ResponseStream(Response):
    """Relays the events of a response. A caller that goes away may end one in the foreground (`cancel_if_dropped`).

    Args:
        after: Number of the last event that the caller has; -1 = none.
    """

    def __init__(self, call: Call, response: StoredResponse, *, after: int = -1) -> None:
        self.background = None
        self._call = call
        self._response = response
        self._after = after
        self._is_silent = True
        self._sending = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI)."""
        await send(_HEAD)
        relaying = asyncio.create_task(self._relay(send), name="response-stream")
        leaving = asyncio.create_task(disconnected(receive), name="response-stream-connection")
        beating = asyncio.create_task(self._keep_alive(send), name="response-stream-beat")
        try:
            await asyncio.wait((relaying, leaving), return_when=asyncio.FIRST_COMPLETED)
            has_left = not relaying.done()
        finally:
            await end_tasks(relaying, leaving, beating)
        if not has_left:
            relaying.result()
        elif not self._response.asked["background"]:
            await cancel_if_dropped(self._call, job_id_of(self._response.id))

    async def _relay(self, send: Send) -> None:
        async with aclosing(events(self._call, self._response)) as made:
            async for event in made:
                if event["sequence_number"] > self._after:
                    await self._say(send, _encoded(event))
        async with self._sending:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _keep_alive(self, send: Send) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            if self._is_silent:
                await self._say(send, _KEEP_ALIVE)
            self._is_silent = True

    async def _say(self, send: Send, data: bytes) -> None:
        async with self._sending:
            self._is_silent = False
            await send({"type": "http.response.body", "body": data, "more_body": True})


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


_HEAD: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),  # nginx would gather the events otherwise
    ],
}


def _encoded(event: Event) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))
