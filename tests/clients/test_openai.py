"""OpenAI's own client, on both of its wires."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from simulator import Simulator, text_digest
from tests.clients.samples import CITY, PNG_TEXT, WEATHER

ASK: list[Any] = [{"role": "user", "content": "hi"}]
TOOLS: list[Any] = [{"type": "function", "function": WEATHER}]
RESPONSE_TOOLS: list[Any] = [{"type": "function", **WEATHER, "strict": False}]
ECHO = f"echo {text_digest('m', '', 'hi')}"


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{simulator.url}/v1", max_retries=0) as opened:
        yield opened


async def test_chat_completion(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m", messages=ASK)
    assert (answer.choices[0].message.content or "").startswith(ECHO)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_capped_answer_says_length(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m", messages=ASK, max_completion_tokens=1)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 1


async def test_json_mode(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="m", messages=ASK, response_format={"type": "json_object"}
    )
    assert json.loads(answer.choices[0].message.content or "")["answer"].startswith(ECHO)


async def test_json_schema(client: openai.AsyncOpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    answer = await client.chat.completions.create(model="m", messages=ASK, response_format=form)
    city = json.loads(answer.choices[0].message.content or "")
    assert city.keys() == {"city", "population"} and isinstance(city["population"], int)


async def test_tool_loop_ends_in_words(client: openai.AsyncOpenAI) -> None:
    """First the call, with its arguments as JSON text; after its result an answer."""
    first = await client.chat.completions.create(model="m", messages=ASK, tools=TOOLS)
    message = first.choices[0].message
    assert (first.choices[0].finish_reason, message.content) == ("tool_calls", None)
    assert message.tool_calls is not None
    call: Any = message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"].startswith(ECHO)
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    turns: list[Any] = [*ASK, message.model_dump(exclude_none=True), result]
    last = await client.chat.completions.create(model="m", messages=turns, tools=TOOLS)
    assert (last.choices[0].message.content or "").startswith("echo ")


async def test_image_costs_tokens(client: openai.AsyncOpenAI) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_TEXT}"}}
    turns: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "hi"}, image]}]
    answer = await client.chat.completions.create(model="m", messages=turns)
    assert answer.usage is not None and answer.usage.prompt_tokens > 200


async def test_stream_adds_up(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="m", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith(ECHO)
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0


async def test_streamed_tool_call_adds_up(client: openai.AsyncOpenAI) -> None:
    """The client's own accumulator puts the pieces together."""
    async with client.chat.completions.stream(model="m", messages=ASK, tools=TOOLS) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.tool_calls is not None
    call = completion.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments)["city"].startswith(ECHO)


async def test_reasoning_is_counted(client: openai.AsyncOpenAI) -> None:
    """And not shown: OpenAI's chat completions never do."""
    answer = await client.chat.completions.create(model="m", messages=ASK, reasoning_effort="low")
    assert answer.usage is not None and answer.usage.completion_tokens_details is not None
    reasoning = answer.usage.completion_tokens_details.reasoning_tokens or 0
    assert 0 < reasoning < answer.usage.completion_tokens
    assert not answer.choices[0].message.model_extra


async def test_repeated_long_prompt_is_cached(client: openai.AsyncOpenAI) -> None:
    turns: list[Any] = [{"role": "user", "content": "x" * 8192}]
    first, second = [await client.chat.completions.create(model="m", messages=turns) for _ in range(2)]
    assert first.usage is not None and first.usage.prompt_tokens_details is None
    assert second.usage is not None and second.usage.prompt_tokens_details is not None
    assert second.usage.prompt_tokens_details.cached_tokens == 2048


ERRORS = [
    ("sim-fault-429", openai.RateLimitError, "rate_limit_exceeded"),
    ("sim-fault-429-quota", openai.RateLimitError, "insufficient_quota"),
    ("sim-fault-bad-key", openai.AuthenticationError, "invalid_api_key"),
    ("sim-fault-404-model", openai.NotFoundError, "model_not_found"),
    ("sim-fault-500", openai.InternalServerError, None),
    ("sim-fault-503", openai.InternalServerError, "server_is_overloaded"),
    ("sim-fault-nonsense", openai.BadRequestError, None),
]


@pytest.mark.parametrize(("model", "kind", "code"), ERRORS)
async def test_error_has_right_class(
    client: openai.AsyncOpenAI, model: str, kind: type[openai.APIStatusError], code: str | None
) -> None:
    for send in (
        lambda: client.chat.completions.create(model=model, messages=ASK),
        lambda: client.responses.create(model=model, input="hi"),
    ):
        with pytest.raises(kind) as caught:
            await send()
        assert caught.value.code == code


async def test_error_in_chat_stream_is_raised(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="sim-fault-error-mid", messages=ASK, stream=True)
    with pytest.raises(openai.APIError, match="server had an error"):
        _ = [chunk async for chunk in stream]


async def test_models_are_listed(client: openai.AsyncOpenAI, simulator: Simulator) -> None:
    simulator.set(models=("a", "b"))
    assert [model.id async for model in client.models.list()] == ["a", "b"]


async def test_response(client: openai.AsyncOpenAI) -> None:
    """Instructions are the system text."""
    answer = await client.responses.create(model="m", instructions="Be brief.", input="hi")
    assert answer.output_text.startswith(f"echo {text_digest('m', 'Be brief.', 'hi')}")
    assert answer.status == "completed"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


async def test_capped_response_is_incomplete(client: openai.AsyncOpenAI, simulator: Simulator) -> None:
    simulator.set(output_tokens=50)
    answer = await client.responses.create(model="m", input="hi", max_output_tokens=16)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


async def test_response_with_schema(client: openai.AsyncOpenAI) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}}
    answer = await client.responses.create(model="m", input="hi", text=form)
    assert json.loads(answer.output_text).keys() == {"city", "population"}


async def test_response_tool_loop_ends_in_words(client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(model="m", input=ASK, tools=RESPONSE_TOOLS)
    call = first.output[-1]
    assert call.type == "function_call" and json.loads(call.arguments)["city"].startswith(ECHO)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    items: list[Any] = [*ASK, call.model_dump(exclude_none=True), result]
    last = await client.responses.create(model="m", input=items, tools=RESPONSE_TOOLS)
    assert last.output_text.startswith("echo ")


async def test_response_with_image(client: openai.AsyncOpenAI) -> None:
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG_TEXT}", "detail": "auto"}
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": "hi"}, image]}]
    answer = await client.responses.create(model="m", input=items)
    assert answer.output_text.startswith(ECHO)
    assert answer.usage is not None and answer.usage.input_tokens > 200


async def test_response_reasoning_has_summary(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.create(
        model="m", input="hi", reasoning={"effort": "low", "summary": "auto"}
    )
    reasoning = answer.output[0]
    assert reasoning.type == "reasoning" and reasoning.summary[0].text
    assert answer.usage is not None and answer.usage.output_tokens_details.reasoning_tokens > 0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": RESPONSE_TOOLS},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {"max_output_tokens": 16},
    ],
)
async def test_response_stream_adds_up(
    client: openai.AsyncOpenAI, simulator: Simulator, fields: dict[str, Any]
) -> None:
    """The client's accumulator and the last event agree, and the numbers count up."""
    simulator.set(output_tokens=50)
    async with client.responses.stream(model="m", input="hi", **fields) as stream:
        events: list[Any] = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    final = events[-1].response
    assert events[-1].type == f"response.{final.status}"
    texts = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert texts == final.output_text


@pytest.mark.parametrize(
    ("model", "kind"), [("error-mid", "response.failed"), ("blocked", "response.incomplete")]
)
async def test_response_stream_ends_badly(client: openai.AsyncOpenAI, model: str, kind: str) -> None:
    stream = await client.responses.create(model=f"sim-fault-{model}", input="hi", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == kind
