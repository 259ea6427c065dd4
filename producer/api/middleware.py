"""Around every call: `/v1` or not, an id, limits of time, and an answer in OpenAI's words whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer.api.call import json_answer
from producer.api.call_metrics import NO_OPERATION, CallMetrics
from producer.api.errors import ApiError, as_api_error, internal_error, retry_after
from producer.api.services import Services
from shared.errors import ChatqError

log = logging.getLogger(__name__)

REQUEST_ID = "chatq.request_id"
"""Key of the scope: the id of the call."""

IS_WHOLE = "chatq.is_whole"
"""Key of the scope: it is there if the body was, when the call began."""

_ANSWER = "chatq.answer"
_BODY = "chatq.body"

LEAST_BODY_RATE = 16 * 1024
"""Bytes a second that a body has to come with after its first seconds: a modem's line carries a third of that."""

Connected = Callable[[], AbstractAsyncContextManager[Services]]

_VERSION = re.compile(r"\A/v1(?=/|$)")


class Around:
    """The outermost layer.

    Args:
        connected: Connects what the calls need, while it is open; the application's lifespan does the same.
        body_s: How long a caller may keep us waiting for its body in all, in seconds, and a second more for each
            `LEAST_BODY_RATE` bytes; for each part of it where the operation says so (`take_its_time`).
    """

    def __init__(self, app: ASGIApp, *, connected: Connected, metrics: CallMetrics, body_s: float) -> None:
        self.connected = connected
        self._app = app
        self._metrics = metrics
        self._body_s = body_s
        self._running: set[asyncio.Timeout] = set()

    def end_calls(self) -> None:
        """End what still runs: who has no answer yet is told to ask again, streams are cut.

        Jobs go on, but for those whose caller would make another one by asking again (`held.py`).
        """
        now = asyncio.get_running_loop().time()
        for limit in self._running:
            if not limit.expired():
                limit.reschedule(now)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call of the server's (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_request_id()
        path = _VERSION.sub("", scope["path"], count=1)
        answer = _Answer(send, request_id, self._metrics)
        body = _Body(receive, self._body_s, has_all=IS_WHOLE in scope)
        scope = {
            **scope, "path": path or "/", "app": self, REQUEST_ID: request_id, _ANSWER: answer, _BODY: body
        }  # fmt: skip
        try:
            await self._run(scope, body.receive, answer.send)
        except Exception as exc:
            refusal = _refusal(exc, scope)
            if not answer.has_begun:
                await refusal(scope, receive, answer.send)
            # Else the server cuts the connection: nothing that is said now would be understood.
        finally:
            answer.close()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._running.add(limit)
                await self._app(scope, receive, send)
        except TimeoutError:
            if not limit.expired():
                raise
            text = "the server is stopping; ask again"
            raise ApiError(
                503, text, kind="server_error", code="server_stopping", headers=retry_after(1)
            ) from None
        finally:
            self._running.discard(limit)


def new_request_id() -> str:
    """An id for a call; the log and `x-request-id` have it."""
    return f"req_{os.urandom(12).hex()}"


def routed(scope: Scope, operation: str) -> None:
    """Tell which operation a call turned out to be."""
    answer: _Answer = scope[_ANSWER]
    answer.routed(operation)


def take_its_time(scope: Scope) -> None:
    """Let the body of this call come for as long as it likes, as long as it comes: only a silence is bounded."""
    body: _Body = scope[_BODY]
    body.is_timed_as_a_whole = False


class _Answer:
    """What goes out: marked with the call's id, counted and timed."""

    def __init__(self, send: Send, request_id: str, metrics: CallMetrics) -> None:
        self.has_begun = False
        self._send = send
        self._request_id = request_id.encode()
        self._metrics = metrics
        self._operation = NO_OPERATION
        self._status = 0
        self._came_at = time.perf_counter()
        metrics.waiting[NO_OPERATION] += 1

    def routed(self, operation: str) -> None:
        self._metrics.waiting[self._operation] -= 1
        self._operation = operation
        self._metrics.waiting[operation] += 1

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            self._status = message["status"]
            # A new message: some are constants that many calls send.
            message = {
                **message,
                "headers": [*message.get("headers", ()), (b"x-request-id", self._request_id)],
            }
            self._metrics.waiting[self._operation] -= 1
            self._metrics.answering[self._operation] += 1
        await self._send(message)

    def close(self) -> None:
        gauge = self._metrics.answering if self.has_begun else self._metrics.waiting
        gauge[self._operation] -= 1
        self._metrics.ended(self._operation, self._status, time.perf_counter() - self._came_at)


class _Body:
    """What comes in: in bounded time, as far as it is the body.

    Attributes:
        is_timed_as_a_whole: Else each part of it is.
    """

    def __init__(self, receive: Receive, patience_s: float, *, has_all: bool) -> None:
        self.is_timed_as_a_whole = True
        self._receive = receive
        self._left_s = patience_s
        self._has_all = has_all

    async def receive(self) -> Message:
        """The next message.

        Raises:
            ApiError: 408; the caller keeps us waiting.
        """
        if self._has_all:  # what comes now is that the caller leaves, whenever that may be
            return await self._receive()
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(self._left_s):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(
                408,
                "the body did not arrive in time",
                code="request_timeout",
                headers={"Connection": "close"},
            ) from None
        if self.is_timed_as_a_whole:
            self._left_s += len(message.get("body", b"")) / LEAST_BODY_RATE - (time.monotonic() - began_at)
        self._has_all = not message.get("more_body", False)
        return message


def _refusal(exc: Exception, scope: Scope) -> Response:
    """The answer to a call that failed; a bug of ours is logged."""
    error = _as_error(exc, scope)
    if error.status == 500:
        log.error("%s: %s %s failed", scope[REQUEST_ID], scope["method"], scope["path"], exc_info=exc)
    _let_go(exc)
    return json_answer(error.envelope(), error.status, error.headers)


def _let_go(exc: BaseException | None) -> None:
    """Clear the frames that an error came through.

    It keeps them, and where one keeps the error in turn, both would hold the call's body in memory until the
    garbage collector comes by: 100 MB after a few large bodies.
    """
    while exc is not None:
        traceback.clear_frames(exc.__traceback__)
        exc = exc.__context__


def _as_error(exc: Exception, scope: Scope) -> ApiError:
    match exc:
        case ApiError():
            return exc
        case ChatqError():
            return as_api_error(exc)
        case HTTPException(status_code=404):
            return ApiError(404, f"there is nothing at {scope['path']}", code="unknown_url")
        case HTTPException(status_code=405):
            allowed = dict(exc.headers or {})
            text = f"{scope['method']} is not allowed at {scope['path']}"
            return ApiError(405, text, code="method_not_allowed", headers=allowed)
        case _:
            return internal_error()
