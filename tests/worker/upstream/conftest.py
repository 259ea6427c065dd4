"""Upstreams to call, on both event loops the worker runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import httpx
import pytest
import uvloop
from pydantic import SecretStr

from shared.chat import ChatRequest
from shared.providers import Provider
from tests.worker.upstream.loopback import chat_request
from worker.upstream import Answer, Upstream, open_upstream

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Time-outs, resets and writes differ between the two loops; what goes over sockets runs on both."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if "sockets" in item.path.stem:
        loops["uvloop"] = uvloop.new_event_loop
    return loops


class Caller:
    """Opens an upstream with given provider fields, calls it once, and hands over what came."""

    def __init__(self) -> None:
        self.opened: list[Upstream] = []

    def open(
        self,
        base_url: str,
        *,
        max_answer_bytes: int = 1 << 20,
        transport: httpx.AsyncBaseTransport | None = None,
        **fields: object,
    ) -> Upstream:
        fields = {"name": "test", "wire": "openai", "key": SecretStr(KEY), **fields}
        provider = Provider(base_url=base_url, **fields)  # type: ignore[arg-type]
        upstream = open_upstream(provider, max_answer_bytes=max_answer_bytes, transport=transport)
        self.opened.append(upstream)
        return upstream

    async def call(
        self,
        base_url: str,
        request: ChatRequest | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
        **fields: object,
    ) -> Answer:
        upstream = self.open(base_url, **fields)  # type: ignore[arg-type]
        return await upstream.call(request or chat_request(), "m", headers=labels or {}, timeout_s=timeout_s)


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    caller = Caller()
    yield caller
    for upstream in caller.opened:
        await upstream.close()


@pytest.fixture
def ask(caller: Caller) -> Callable[..., object]:
    """Call an upstream whose transport is a function from request to answer; no sockets."""

    async def ask(
        answer: Callable[[httpx.Request], httpx.Response] | httpx.Response,
        request: ChatRequest | None = None,
        *,
        base_url: str = "http://upstream.test",
        **fields: object,
    ) -> Answer:
        handler = answer if callable(answer) else lambda _: answer
        return await caller.call(base_url, request, transport=httpx.MockTransport(handler), **fields)

    return ask
