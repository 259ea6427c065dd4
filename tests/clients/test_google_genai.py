"""Google's own client, on the native Gemini wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from simulator import Simulator, text_digest
from tests.clients.samples import CITY, PNG, WEATHER

ECHO = f"echo {text_digest('m', '', 'hi')}"
TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(name=WEATHER["name"], parameters_json_schema=WEATHER["parameters"])
    ]
)


pytestmark = pytest.mark.filterwarnings(
    # The library makes its own class of aiohttp's session, which aiohttp discourages.
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[genai.Client]:
    opened = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=simulator.url))
    yield opened
    await opened.aio.aclose()
    opened.close()


async def ask(client: genai.Client, contents: Any = "hi", model: str = "m", **config: Any) -> Any:
    """One answer without streaming."""
    return await client.aio.models.generate_content(
        model=model, contents=contents, config=types.GenerateContentConfig(**config)
    )


async def test_content(client: genai.Client) -> None:
    """The system text stands apart."""
    answer = await ask(client, system_instruction="Be brief.")
    assert answer.text.startswith(f"echo {text_digest('m', 'Be brief.', 'hi')}")
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    usage = answer.usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert answer.model_version == "m"


async def test_capped_answer_says_max_tokens(client: genai.Client, simulator: Simulator) -> None:
    """And a model's name may carry its collection."""
    answer = await ask(client, model="models/m", max_output_tokens=1)
    assert answer.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert (answer.usage_metadata.candidates_token_count, simulator.calls[0].model) == (1, "m")


async def test_stream_adds_up(client: genai.Client) -> None:
    """Every event has usage; the last one has all of it."""
    stream = await client.aio.models.generate_content_stream(model="m", contents="hi")
    events = [event async for event in stream]
    assert "".join(event.text or "" for event in events).startswith(ECHO)
    assert all(event.usage_metadata is not None for event in events)
    last = events[-1]
    assert last.usage_metadata is not None and (last.usage_metadata.candidates_token_count or 0) > 0
    assert last.candidates is not None and last.candidates[0].finish_reason == types.FinishReason.STOP


async def test_tool_loop_ends_in_words(client: genai.Client) -> None:
    """First the call, with its arguments as an object; after its result an answer."""
    first = await ask(client, tools=[TOOL])
    call = first.function_calls[0]
    assert call.name == "get_weather" and call.args["city"].startswith(ECHO)
    result = types.Part.from_function_response(name="get_weather", response={"result": "sunny"})
    turns = [
        types.UserContent("hi"),
        first.candidates[0].content,
        types.Content(role="user", parts=[result]),
    ]
    last = await ask(client, turns, tools=[TOOL])
    assert last.function_calls is None and last.text.startswith("echo ")


async def test_forced_function_is_called(client: genai.Client) -> None:
    """By name, after a result too."""
    declared = [types.FunctionDeclaration(name=name) for name in ("other", "wanted")]
    calling = types.FunctionCallingConfig(
        mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["wanted"]
    )
    answer = await ask(
        client,
        tools=[types.Tool(function_declarations=declared)],
        tool_config=types.ToolConfig(function_calling_config=calling),
    )
    assert answer.function_calls[0].name == "wanted"


@pytest.mark.parametrize("field", ["response_schema", "response_json_schema"])
async def test_schema_is_kept(client: genai.Client, field: str) -> None:
    schema = {name: value for name, value in CITY.items() if name != "additionalProperties"}
    answer = await ask(client, response_mime_type="application/json", **{field: schema})
    city = json.loads(answer.text)
    assert city.keys() == {"city", "population"} and isinstance(city["population"], int)


async def test_json_without_schema(client: genai.Client) -> None:
    answer = await ask(client, response_mime_type="application/json")
    assert json.loads(answer.text)["answer"].startswith(ECHO)


async def test_image_costs_tokens(client: genai.Client) -> None:
    answer = await ask(client, ["hi", types.Part.from_bytes(data=PNG, mime_type="image/png")])
    assert answer.text.startswith(ECHO)
    assert answer.usage_metadata.prompt_token_count > 200


@pytest.mark.parametrize("shows", [True, False])
async def test_thoughts_are_counted_and_shown_if_wanted(client: genai.Client, shows: bool) -> None:
    thinking = types.ThinkingConfig(thinking_budget=512, include_thoughts=shows)
    answer = await ask(client, thinking_config=thinking)
    parts = answer.candidates[0].content.parts
    assert [part.thought for part in parts] == ([True, None] if shows else [None])
    usage = answer.usage_metadata
    assert usage.thoughts_token_count > 0
    parts_sum = usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    assert usage.total_token_count == parts_sum


async def test_streamed_thoughts_come_first(client: genai.Client) -> None:
    thinking = types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW, include_thoughts=True)
    stream = await client.aio.models.generate_content_stream(
        model="m", contents="hi", config=types.GenerateContentConfig(thinking_config=thinking)
    )
    marks = []
    async for event in stream:
        assert event.candidates is not None and event.candidates[0].content is not None
        marks += [bool(part.thought) for part in event.candidates[0].content.parts or []]
    assert marks == sorted(marks, reverse=True) and set(marks) == {True, False}


async def test_repeated_long_prompt_is_cached(client: genai.Client) -> None:
    first, second = [(await ask(client, "x" * 8192)).usage_metadata for _ in range(2)]
    assert (first.cached_content_token_count, second.cached_content_token_count) == (None, 2048)
    assert first.prompt_token_count == second.prompt_token_count


async def test_tokens_are_counted(client: genai.Client, simulator: Simulator) -> None:
    """As the answer's usage has it, without a call in the log."""
    counted = await client.aio.models.count_tokens(model="m", contents="x" * 400)
    assert not simulator.calls
    assert counted.total_tokens == (await ask(client, "x" * 400)).usage_metadata.prompt_token_count


async def test_models_are_listed(client: genai.Client, simulator: Simulator) -> None:
    simulator.set(models=("a", "b"))
    assert [model.name async for model in await client.aio.models.list()] == ["models/a", "models/b"]


async def test_blocked_prompt_has_no_candidates(client: genai.Client) -> None:
    answer = await ask(client, model="sim-fault-blocked")
    assert answer.candidates is None
    assert answer.prompt_feedback.block_reason == types.BlockedReason.SAFETY


ERRORS = [
    ("429", errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
    ("402", errors.ClientError, 402, "RESOURCE_EXHAUSTED"),
    ("bad-key", errors.ClientError, 400, "INVALID_ARGUMENT"),
    ("404-model", errors.ClientError, 404, "NOT_FOUND"),
    ("nonsense", errors.ClientError, 400, "INVALID_ARGUMENT"),
    ("500", errors.ServerError, 500, "INTERNAL"),
    ("503", errors.ServerError, 503, "UNAVAILABLE"),
]


@pytest.mark.parametrize(("fault", "kind", "code", "status"), ERRORS)
async def test_error_has_right_class(
    client: genai.Client, fault: str, kind: type[errors.APIError], code: int, status: str
) -> None:
    with pytest.raises(kind) as caught:
        await ask(client, model=f"sim-fault-{fault}")
    assert (caught.value.code, caught.value.status) == (code, status)


async def test_error_in_stream_is_raised(client: genai.Client) -> None:
    stream = await client.aio.models.generate_content_stream(model="sim-fault-error-mid", contents="hi")
    with pytest.raises(errors.ServerError, match="overloaded"):
        _ = [event async for event in stream]


async def test_missing_and_wrong_keys_differ(client: genai.Client, simulator: Simulator) -> None:
    """A wrong key is a wrong argument, told by its reason."""
    simulator.set(key="right")
    with pytest.raises(errors.ClientError) as caught:
        await ask(client)
    assert caught.value.code == 400
    assert caught.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"
