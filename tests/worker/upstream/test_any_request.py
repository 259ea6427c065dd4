"""Any request that passes the schema, any answer: whatever the wire, only our own errors come out."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.chat import ChatRequest
from shared.errors import UpstreamError
from shared.providers import Provider
from shared.settings import Wire as WireName
from tests.worker.upstream.any_request import JSON, any_answer, any_request, unhurried
from tests.worker.upstream.loopback import chat_request
from worker.upstream import open_upstream
from worker.upstream.quirks import QUIRK_TABLE
from worker.upstream.wires import WIRES

CALLS = st.lists(
    any_answer(id=st.text(), function=any_answer(name=st.just("add"), arguments=st.just("{}"))), max_size=2
)
MESSAGE = any_answer(content=st.text() | st.none(), tool_calls=CALLS)
CHOICES = st.lists(
    any_answer(message=MESSAGE, finish_reason=st.sampled_from(["stop", "error", "content_filter"])),
    max_size=2,
)
ANSWERS = any_answer(
    choices=CHOICES,
    message=MESSAGE,
    response=st.text(),
    done=st.booleans(),
    done_reason=st.sampled_from(["stop", "load"]),
    usage=any_answer(prompt_tokens=st.integers(), cost=JSON),
    error=st.none(),
)
"""For the wires that have no answers of their own beside their tests."""

QUIRKS = st.lists(st.sampled_from(sorted(QUIRK_TABLE)), unique=True, max_size=6)


async def call(wire: WireName, request: ChatRequest, quirks: list[str], answer: Any) -> None:
    """One call through the client: what it raises is an `UpstreamError`, and what it brings is JSON."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    provider = Provider(name="test", wire=wire, base_url="http://upstream.test", quirks=tuple(quirks))
    upstream = open_upstream(provider, max_answer_bytes=1 << 20, transport=transport)
    try:
        brought = await upstream.call(request, "m", headers={}, timeout_s=5)
    except UpstreamError as error:
        assert str(error)
    else:
        assert orjson.dumps(brought.response)
    finally:
        await upstream.close()


@pytest.mark.parametrize("wire", WIRES)
@settings(unhurried, max_examples=60)
@given(request=any_request(), quirks=QUIRKS)
async def test_any_request_is_sent_or_refused(
    wire: WireName, request: ChatRequest, quirks: list[str]
) -> None:
    """With any quirks."""
    await call(wire, request, quirks, {})


@pytest.mark.parametrize("wire", ["openai", "ollama", "ollama_generate"])
@settings(unhurried, max_examples=60)
@given(answer=ANSWERS, quirks=QUIRKS)
async def test_any_answer_is_read_or_refused(wire: WireName, answer: Any, quirks: list[str]) -> None:
    """With any quirks, and function names that have to be restored."""
    tools = [{"type": "function", "function": {"name": "a b"}}]
    await call(wire, chat_request(tools=tools), quirks, answer)
