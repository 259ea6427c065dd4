"""The application: routes, and around every call its id, its caller and its errors."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer.api import jobs
from producer.api.access import Access
from producer.api.call import Call, json_answer
from producer.api.errors import ApiError, as_api_error, internal_error
from producer.api.operation import Operation
from producer.api.services import Services, open_services
from shared.errors import ChatqError
from shared.providers import ProviderRegistry
from shared.settings import Settings

log = logging.getLogger(__name__)

OPERATIONS: tuple[Operation, ...] = (*jobs.OPERATIONS,)
"""Everything there is; where two paths fit, the first counts."""

_VERSION = re.compile(r"\A/v1(?=/|$)")


def create_app(settings: Settings, registry: ProviderRegistry) -> ASGIApp:
    """The application; it connects when it is started, and disconnects when it is stopped."""
    state = _State()

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with open_services(settings, registry) as services:
            state.services, state.access = services, Access(services)
            yield

    return _Outermost(Router(list(_routes(OPERATIONS, state)), lifespan=lifespan, redirect_slashes=False))


class _State:
    """What the lifespan makes and the calls use."""

    services: Services
    access: Access


def _routes(operations: Iterable[Operation], state: _State) -> Iterator[Route]:
    for operation in operations:
        yield Route(operation.path, _endpoint(operation, state), methods=[operation.method])


def _endpoint(operation: Operation, state: _State) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        principal = await state.access.admit(request, operation.role)
        return await operation.handler(
            Call(request, principal, state.services, request.scope["chatq.request_id"])
        )

    return endpoint


class _Outermost:
    """Around every call: `/v1` or not, an id, and an answer in OpenAI's words whatever goes wrong."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        path = _VERSION.sub("", scope["path"], count=1)
        scope = {**scope, "path": path or "/", "chatq.request_id": request_id, "app": self}
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as exc:
            error = _as_answer(exc, scope)
            if error.status == 500:
                log.exception("%s: %s %s failed", request_id, scope["method"], path)
            if has_begun:
                raise  # the server cuts the connection: nothing that is said now would be understood
            await json_answer(error.envelope(), error.status, error.headers)(scope, receive, send_on)


def _as_answer(exc: Exception, scope: Scope) -> ApiError:
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
