"""Anthropic's own client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from simulator import Simulator, text_digest
from tests.clients.samples import CITY, PNG_TEXT, WEATHER

ASK: list[Any] = [{"role": "user", "content": "hi"}]
TOOLS: list[Any] = [{"name": "get_weather", "input_schema": WEATHER["parameters"]}]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_TEXT}}
ECHO = f"echo {text_digest('m', '', 'hi')}"


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=simulator.url, max_retries=0) as opened:
        yield opened


async def ask(client: anthropic.AsyncAnthropic, **fields: Any) -> anthropic.types.Message:
    """One message without streaming."""
    return await client.messages.create(**{"model": "m", "messages": ASK, "max_tokens": 2048, **fields})


async def test_message(client: anthropic.AsyncAnthropic) -> None:
    """The system text stands apart."""
    answer = await ask(client, system="Be brief.")
    assert answer.content[0].type == "text"
    assert answer.content[0].text.startswith(f"echo {text_digest('m', 'Be brief.', 'hi')}")
    assert (answer.stop_reason, answer.role) == ("end_turn", "assistant")
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    assert answer._request_id is not None


async def test_capped_message_says_max_tokens(client: anthropic.AsyncAnthropic) -> None:
    answer = await ask(client, max_tokens=1)
    assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 1)


async def test_stream_adds_up(client: anthropic.AsyncAnthropic) -> None:
    """The client's accumulator makes the same message of the events."""
    async with client.messages.stream(model="m", messages=ASK, max_tokens=2048) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text.startswith(ECHO)
    assert (final.stop_reason, final.content[0].type) == ("end_turn", "text")
    assert final.usage.output_tokens > 0


async def test_raw_stream_has_ping_and_end(client: anthropic.AsyncAnthropic) -> None:
    stream = await client.messages.create(model="m", messages=ASK, max_tokens=2048, stream=True)
    kinds = [event.type async for event in stream]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])


async def test_tool_loop_ends_in_words(client: anthropic.AsyncAnthropic) -> None:
    """First the use, with its input as an object; after its result an answer."""
    first = await ask(client, tools=TOOLS)
    use = first.content[-1]
    assert first.stop_reason == "tool_use" and use.type == "tool_use"
    assert use.name == "get_weather" and str(use.input["city"]).startswith(ECHO)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    turns = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = await ask(client, tools=TOOLS, messages=turns)
    assert last.content[0].type == "text" and last.stop_reason == "end_turn"


async def test_forced_tool_is_used(client: anthropic.AsyncAnthropic) -> None:
    """By name, among several."""
    tools = [{"name": "other", "input_schema": {"type": "object"}}, *TOOLS]
    answer = await ask(client, tools=tools, tool_choice={"type": "tool", "name": "get_weather"})
    assert answer.content[-1].type == "tool_use" and answer.content[-1].name == "get_weather"


async def test_streamed_tool_use_adds_up(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(model="m", messages=ASK, max_tokens=2048, tools=TOOLS) as stream:
        final = await stream.get_final_message()
    use: Any = final.content[-1]
    assert (final.stop_reason, use.type) == ("tool_use", "tool_use")
    assert use.input["city"].startswith(ECHO)


async def test_image_costs_tokens(client: anthropic.AsyncAnthropic) -> None:
    answer = await ask(
        client, messages=[{"role": "user", "content": [IMAGE, {"type": "text", "text": "hi"}]}]
    )
    assert answer.usage.input_tokens > 200
    assert answer.content[0].type == "text" and answer.content[0].text.startswith(ECHO)


async def test_schema_is_kept(client: anthropic.AsyncAnthropic) -> None:
    answer = await ask(client, output_config={"format": {"type": "json_schema", "schema": CITY}})
    assert answer.content[0].type == "text"
    assert json.loads(answer.content[0].text).keys() == {"city", "population"}


@pytest.mark.parametrize("thinking", [{"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}])
async def test_thinking_comes_first_and_is_counted(
    client: anthropic.AsyncAnthropic, thinking: dict[str, Any]
) -> None:
    """Signed, so that it can go back unchanged."""
    answer = await ask(client, thinking=thinking)
    first = answer.content[0]
    assert first.type == "thinking" and first.thinking and first.signature
    assert answer.usage.output_tokens_details is not None
    assert 0 < answer.usage.output_tokens_details.thinking_tokens < answer.usage.output_tokens
    turns = [*ASK, {"role": "assistant", "content": answer.content}, {"role": "user", "content": "go on"}]
    assert (await ask(client, thinking=thinking, messages=turns)).stop_reason == "end_turn"


async def test_streamed_thinking_adds_up(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(
        model="m", messages=ASK, max_tokens=2048, thinking={"type": "adaptive"}
    ) as stream:
        final = await stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[0].type == "thinking" and final.content[0].signature


async def test_marked_prompt_is_written_then_read(client: anthropic.AsyncAnthropic) -> None:
    """The three kinds of input add up to the same prompt."""
    system = [{"type": "text", "text": "x" * 8192, "cache_control": {"type": "ephemeral"}}]
    first, second = [(await ask(client, system=system)).usage for _ in range(2)]
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (2048, 0)
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 2048)
    assert first.input_tokens == second.input_tokens < 2048


async def test_tokens_are_counted(client: anthropic.AsyncAnthropic, simulator: Simulator) -> None:
    """As the answer's usage has it, without a call in the log."""
    counted = await client.messages.count_tokens(model="m", messages=ASK, system="s" * 400)
    assert not simulator.calls
    assert counted.input_tokens == (await ask(client, system="s" * 400)).usage.input_tokens


async def test_models_are_listed(client: anthropic.AsyncAnthropic, simulator: Simulator) -> None:
    simulator.set(models=("a", "b"))
    assert [model.id async for model in client.models.list()] == ["a", "b"]


ERRORS = [
    ("429", anthropic.RateLimitError, "rate_limit_error"),
    ("402", anthropic.APIStatusError, "billing_error"),
    ("bad-key", anthropic.AuthenticationError, "authentication_error"),
    ("404-model", anthropic.NotFoundError, "not_found_error"),
    ("500", anthropic.InternalServerError, "api_error"),
    ("529", anthropic.OverloadedError, "overloaded_error"),
    ("nonsense", anthropic.BadRequestError, "invalid_request_error"),
]


@pytest.mark.parametrize(("fault", "kind", "name"), ERRORS)
async def test_error_has_right_class(
    client: anthropic.AsyncAnthropic, fault: str, kind: type[anthropic.APIStatusError], name: str
) -> None:
    with pytest.raises(kind) as caught:
        await ask(client, model=f"sim-fault-{fault}")
    body: Any = caught.value.body
    assert (body["type"], body["error"]["type"]) == ("error", name)
    assert caught.value.request_id == body["request_id"]


async def test_error_event_in_stream_is_raised(client: anthropic.AsyncAnthropic) -> None:
    stream = await client.messages.create(
        model="sim-fault-error-mid", messages=ASK, max_tokens=2048, stream=True
    )
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        _ = [event async for event in stream]


async def test_refusal_is_a_stop_reason(client: anthropic.AsyncAnthropic) -> None:
    answer = await ask(client, model="sim-fault-blocked")
    assert (answer.stop_reason, answer.content) == ("refusal", [])
    assert answer.stop_details is not None and answer.stop_details.type == "refusal"


async def test_sampling_field_is_refused(client: anthropic.AsyncAnthropic) -> None:
    """The client's own API version takes none."""
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        await ask(client, extra_body={"temperature": 1})
