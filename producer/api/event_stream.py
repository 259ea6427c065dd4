"""Server-sent events as an answer: relayed as they come, kept alive by comments, given up when the caller leaves.

The head is delayed for as long as is safe, for with it the status is said; what fails later is an event.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from producer.api.call import Call, json_answer
from producer.api.connection import disconnected
from producer.api.errors import ApiError, as_api_error
from producer.api.held import head_delay_s
from shared.background import end_tasks
from shared.errors import ChatqError

MOST_HEAD_S = 10.0
"""Longest delay of the head. A stream can say that it lives, so it is shorter than that of a plain answer."""

KEEP_ALIVE_S = 5.0
"""Longest interval of the comments. Some clients end a connection that is silent for 10 s."""

_KEEP_ALIVE = b": keep-alive\n\n"


class EventStream(Response, ABC):
    """Relays events; an error before the first byte has a status of its own.

    Args:
        extra: Headers beside the usual ones.
    """

    def __init__(self, call: Call, extra: Mapping[str, str] | None = None) -> None:
        self.background = None
        self._call = call
        self._extra = extra or {}
        self._head_s = min(MOST_HEAD_S, head_delay_s(call))
        self._has_head = False
        self._is_over = False
        self._is_silent = True
        self._sending = asyncio.Lock()

    @abstractmethod
    def events(self) -> AsyncGenerator[bytes, None]:
        """The events, to the last one.

        Raises:
            ApiError, ChatqError: Is told as an error, and is the last thing.
        """

    @abstractmethod
    async def left(self) -> None:
        """The caller has gone away."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer (ASGI)."""
        relaying = asyncio.create_task(self._relay(scope, receive, send), name="event-stream")
        leaving = asyncio.create_task(disconnected(receive), name="event-stream-connection")
        beating = asyncio.create_task(self._keep_alive(send), name="event-stream-beat")
        try:
            await asyncio.wait((relaying, leaving), return_when=asyncio.FIRST_COMPLETED)
            has_left = not relaying.done()
        finally:
            await end_tasks(relaying, leaving, beating)
        if has_left:
            await self.left()
        else:
            relaying.result()

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self.events()) as events:
                async for event in events:
                    await self._say(send, event)
        except ApiError as exc:
            error = exc
        except ChatqError as exc:
            error = as_api_error(exc)
        else:
            await self._say(send, b"", is_last=True)
            return
        if self._has_head:
            await self._say(send, data_event(error.envelope()), is_last=True)
            return
        self._has_head = self._is_over = True
        await json_answer(error.envelope(), error.status, error.headers)(scope, receive, send)

    async def _keep_alive(self, send: Send) -> None:
        beat_s, waited_s = min(KEEP_ALIVE_S, self._head_s / 2), 0.0
        while True:
            await asyncio.sleep(beat_s)
            waited_s += beat_s
            if self._is_silent and (self._has_head or waited_s >= self._head_s):
                await self._say(send, _KEEP_ALIVE)
            self._is_silent = True

    async def _say(self, send: Send, data: bytes, *, is_last: bool = False) -> None:
        async with self._sending:
            if self._is_over:  # a comment that comes too late
                return
            self._is_over, self._is_silent = is_last, False
            if not self._has_head:
                self._has_head = True
                await send(self._head())
            await send({"type": "http.response.body", "body": data, "more_body": not is_last})

    def _head(self) -> Message:
        headers = {
            "content-type": "text/event-stream",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",  # nginx would gather the events otherwise
            **self._extra,
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        return {"type": "http.response.start", "status": 200, "headers": raw}


def data_event(value: dict[str, Any]) -> bytes:
    """An event without a name."""
    return b"data: %b\n\n" % orjson.dumps(value)
