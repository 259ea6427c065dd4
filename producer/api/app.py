"""The application: its operations as routes, each behind the access check."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from producer.api import (
    batches,
    chat_completions,
    chatd,
    files,
    health,
    job_bulk,
    job_events,
    job_list,
    jobs,
    metrics,
    models,
    props,
    responses,
    webhooks,
)
from producer.api.access import Access
from producer.api.call import Call, read_headers
from producer.api.call_metrics import CallMetrics
from producer.api.documentation import with_documentation
from producer.api.middleware import REQUEST_ID, Around, routed
from producer.api.operation import Operation
from producer.api.services import Services, open_services
from shared.providers import ProviderRegistry
from shared.settings import Settings
from shared.store.tokens import TokenStore

RESOURCES = (
    chat_completions,
    job_bulk,
    job_events,
    job_list,
    jobs,
    models,
    props,
    chatd,
    health,
    metrics,
    files,
    batches,
    responses,
    webhooks,
)
"""Modules with `OPERATIONS` and `SCHEMAS`; where two paths fit, the first counts."""

OPERATIONS: tuple[Operation, ...] = with_documentation(
    (operation for resource in RESOURCES for operation in resource.OPERATIONS),
    (getattr(resource, "SCHEMAS", {}) for resource in RESOURCES),
)
"""Everything there is."""


def create_app(settings: Settings, registry: ProviderRegistry) -> Around:
    """The application; it connects when it is started, and disconnects when it is stopped."""
    state = _State()
    measured = CallMetrics()

    @asynccontextmanager
    async def connected() -> AsyncIterator[Services]:
        async with open_services(settings, registry, measured) as services:
            state.services, state.access = services, Access(settings, TokenStore(services.store))
            yield services

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with connected():
            yield

    router = Router(list(_routes(OPERATIONS, state)), lifespan=lifespan, redirect_slashes=False)
    return Around(router, connected=connected, metrics=measured, body_s=settings.api.body_timeout_s)


class _State:
    """What the lifespan makes and the calls use."""

    services: Services
    access: Access


def _routes(operations: Iterable[Operation], state: _State) -> Iterator[Route]:
    for operation in operations:
        yield Route(operation.path, _Endpoint(operation, state), methods=[operation.method])


class _Endpoint:
    """An operation behind its access check.

    An ASGI application: Starlette wraps more around a function, to catch what `Around` catches.
    """

    def __init__(self, operation: Operation, state: _State) -> None:
        self._name = f"{operation.method} {operation.path}"
        self._operation = operation
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        routed(scope, self._name)
        headers = read_headers(scope)
        address = scope["client"][0] if scope.get("client") else ""
        principal = await self._state.access.admit(headers, address, self._operation.role)
        request = Request(scope, receive, send)
        call = Call(request, headers, principal, self._state.services, scope[REQUEST_ID])
        response = await self._operation.handler(call)
        await response(scope, receive, send)
