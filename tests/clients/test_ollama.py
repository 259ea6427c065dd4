"""Ollama's own client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest

from simulator import Simulator, text_digest
from tests.clients.samples import CITY, PNG, WEATHER

ASK: list[Any] = [{"role": "user", "content": "hi"}]
TOOLS: list[Any] = [{"type": "function", "function": WEATHER}]
ECHO = f"echo {text_digest('m', '', 'hi')}"


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(host=simulator.url) as opened:
        yield opened


async def test_chat(client: ollama.AsyncClient) -> None:
    answer = await client.chat(model="m", messages=ASK)
    assert (answer.message.content or "").startswith(ECHO)
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert (answer.prompt_eval_count or 0) > 0 and (answer.eval_count or 0) > 0


async def test_generate(client: ollama.AsyncClient) -> None:
    """The system text stands apart."""
    answer = await client.generate(model="m", prompt="hi", system="Be brief.")
    assert answer.response.startswith(f"echo {text_digest('m', 'Be brief.', 'hi')}")


async def test_chat_stream_adds_up(client: ollama.AsyncClient) -> None:
    lines = [line async for line in await client.chat(model="m", messages=ASK, stream=True)]
    assert "".join(line.message.content or "" for line in lines).startswith(ECHO)
    assert lines[-1].done and (lines[-1].eval_count or 0) > 0


async def test_generate_stream_adds_up(client: ollama.AsyncClient) -> None:
    lines = [line async for line in await client.generate(model="m", prompt="hi", stream=True)]
    assert "".join(line.response for line in lines).startswith(ECHO)


async def test_tool_loop_ends_in_words(client: ollama.AsyncClient) -> None:
    """First the call, with its arguments as an object; after its result an answer."""
    first = await client.chat(model="m", messages=ASK, tools=TOOLS)
    assert first.message.tool_calls is not None
    function = first.message.tool_calls[0].function
    assert function.name == "get_weather" and function.arguments["city"].startswith(ECHO)
    turns = [*ASK, first.message, {"role": "tool", "tool_name": "get_weather", "content": "sunny"}]
    last = await client.chat(model="m", messages=turns, tools=TOOLS)
    assert (last.message.content or "").startswith("echo ")


async def test_streamed_tool_call_comes_whole(client: ollama.AsyncClient) -> None:
    lines = [line async for line in await client.chat(model="m", messages=ASK, tools=TOOLS, stream=True)]
    calls = [call for line in lines for call in line.message.tool_calls or ()]
    assert [call.function.name for call in calls] == ["get_weather"]


@pytest.mark.parametrize(("form", "fields"), [("json", {"answer"}), (CITY, {"city", "population"})])
async def test_format_is_kept(client: ollama.AsyncClient, form: Any, fields: set[str]) -> None:
    chat = await client.chat(model="m", messages=ASK, format=form)
    generated = await client.generate(model="m", prompt="hi", format=form)
    for text in (chat.message.content or "", generated.response):
        assert json.loads(text).keys() == fields


async def test_thinking_is_shown_and_counted(client: ollama.AsyncClient) -> None:
    """In the one count there is."""
    plain = await client.chat(model="m", messages=ASK, think=False)
    chat = await client.chat(model="m", messages=ASK, think=True)
    generated = await client.generate(model="m", prompt="hi", think="low")
    assert plain.message.thinking is None
    assert chat.message.thinking and generated.thinking
    assert (chat.eval_count or 0) > (plain.eval_count or 0)


async def test_streamed_thinking_comes_first(client: ollama.AsyncClient) -> None:
    lines = [line async for line in await client.chat(model="m", messages=ASK, think=True, stream=True)]
    assert lines[0].message.thinking and not lines[0].message.content
    assert "".join(line.message.content or "" for line in lines).startswith(ECHO)


async def test_images_cost_tokens(client: ollama.AsyncClient) -> None:
    chat = await client.chat(model="m", messages=[{"role": "user", "content": "hi", "images": [PNG]}])
    generated = await client.generate(model="m", prompt="hi", images=[PNG])
    assert (chat.message.content or "").startswith(ECHO)
    assert min(chat.prompt_eval_count or 0, generated.prompt_eval_count or 0) > 200


async def test_models_are_listed(client: ollama.AsyncClient, simulator: Simulator) -> None:
    simulator.set(models=("a", "b:1"))
    assert [model.model for model in (await client.list()).models] == ["a", "b:1"]


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        ("404-model", 404, "not found"),
        ("429", 429, "concurrent requests"),
        ("bad-key", 401, "unauthorized"),
        ("500", 500, "internal"),
        ("503", 503, "overloaded"),
        ("nonsense", 400, "directive"),
    ],
)
async def test_error_has_status_and_text(
    client: ollama.AsyncClient, fault: str, status: int, text: str
) -> None:
    with pytest.raises(ollama.ResponseError, match=text) as caught:
        await client.chat(model=f"sim-fault-{fault}", messages=ASK)
    assert caught.value.status_code == status


async def test_error_line_in_stream_is_raised(client: ollama.AsyncClient) -> None:
    stream = await client.chat(model="sim-fault-error-mid", messages=ASK, stream=True)
    with pytest.raises(ollama.ResponseError, match="encountered"):
        _ = [line async for line in stream]
