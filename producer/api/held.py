"""A held answer: the call waits in the queue with its job, and its connection is kept alive meanwhile.

The head is delayed as long as that is safe, for with it the status is said. From then on a blank every few
seconds keeps clients and proxies from giving up; a job that fails afterwards is an error under status 200
(docs/openai-wire.md §2, "Holding a request while it waits in the queue").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from producer.api.call import Call, json_answer
from producer.api.connection import disconnected
from producer.api.errors import ApiError, as_api_error
from producer.wait import Wait
from shared.background import end_tasks
from shared.errors import ChatqError
from shared.store.reading import Told

HEAD_S = 25.0
"""How long the head is delayed for a client that does not say how long it bears silence."""

MOST_HEAD_S = 300.0
"""And at most for one that says: it is half of what it said."""

KEEP_ALIVE_S = 5.0
"""Longest interval of the blanks. Some clients end a connection that is silent for 10 s."""

Render = Callable[[Told], Response]


def head_delay_s(call: Call) -> float:
    """How long the answer's head may be delayed, in seconds: half of what the client bears (Python or Node)."""
    headers = call.headers
    stated = headers.get("x-stainless-read-timeout") or headers.get("x-stainless-timeout", "")
    try:
        return min(MOST_HEAD_S, max(0.2, float(stated) / 2))
    except ValueError:
        return HEAD_S


class HeldAnswer(Response):
    """Waits for a job, then answers with what `render` makes of it.

    A caller that goes away, or is sent away, may cancel the job (`cancel_if_dropped`).

    Args:
        wait: For the job.
        render: Makes the answer; an `ApiError` that it raises is one, too.
    """

    def __init__(self, call: Call, wait: Wait, render: Render) -> None:
        self.background = None
        self._call = call
        self._wait = wait
        self._render = render
        self._has_head = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait and answer; an ASGI application, as every response is one."""
        waiting = asyncio.create_task(self._answer(scope, receive, send), name="held-answer")
        leaving = asyncio.create_task(disconnected(receive), name="held-connection")
        try:
            await asyncio.wait(
                (waiting, leaving), timeout=head_delay_s(self._call), return_when=asyncio.FIRST_COMPLETED
            )
            if waiting.done() or self._has_head:  # the answer is there, or on its way
                await waiting
            elif leaving.done():
                await self._left(waiting)
            else:
                await self._keep_alive(waiting, leaving, send)
        except asyncio.CancelledError:  # the server stops; who is told to ask again makes another job
            if not waiting.done():
                await self._left(waiting)
            raise
        finally:
            await end_tasks(waiting, leaving)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Response:
        """Wait, and send the answer if nothing was sent so far: from here, as a step to another task takes time."""
        response = await self._response()
        if not self._has_head:
            self._has_head = True
            await response(scope, receive, send)
        return response

    async def _response(self) -> Response:
        try:
            return self._render(await self._call.services.producer.answers.finish(self._wait))
        except ApiError as exc:
            error = exc
        except ChatqError as exc:
            error = as_api_error(exc)
        return json_answer(error.envelope(), error.status, error.headers)

    async def _keep_alive(
        self, waiting: asyncio.Task[Response], leaving: asyncio.Task[None], send: Send
    ) -> None:
        self._has_head = True
        headers = [(b"content-type", b"application/json"), (b"x-chatq-job", self._wait.job_id.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        interval_s = min(KEEP_ALIVE_S, head_delay_s(self._call))
        while not waiting.done():
            await send(_part(b" "))
            done, _ = await asyncio.wait(
                (waiting, leaving), timeout=interval_s, return_when=asyncio.FIRST_COMPLETED
            )
            if leaving in done and waiting not in done:
                await self._left(waiting)
                return
        body = (await waiting).body
        await send({"type": "http.response.body", "body": bytes(body), "more_body": False})

    async def _left(self, waiting: asyncio.Task[Response]) -> None:
        await end_tasks(waiting)
        self._wait.give_up()
        await cancel_if_dropped(self._call, self._wait.job_id)


async def cancel_if_dropped(call: Call, job_id: str) -> None:
    """End a job whose caller has gone away, unless the setting says no or somebody else waits for it.

    A caller that named the call (`Idempotency-Key`) will come again for the answer; and the job may be older than
    this call, submitted to be looked at later.
    """
    if call.services.settings.api.cancel_dropped and call.idempotency_key is None:
        await asyncio.shield(call.services.producer.cancel_unwatched(job_id))


def _part(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}
