"""JSON, tool calls and thoughts on every wire that has them, as far as the vendors' clients do not show them."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from simulator import text_digest
from simulator.answer import compose
from simulator.demand import Demand, Tool, ToolChoice, choose_tool
from simulator.dice import Dice
from simulator.distribution import Distribution
from simulator.refusals import InvalidRequest
from tests.simulator.calls import WIRES, answer_text, chat
from tests.simulator.conftest import StartSimulator

ECHO = f"echo {text_digest('m', '', 'hi')}"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
AS_SCHEMA: dict[str, dict[str, Any]] = {
    "ollama": {"format": SCHEMA},
    "ollama_generate": {"format": SCHEMA},
    "openai": {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
    "responses": {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
    "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "gemini": {"generationConfig": {"responseMimeType": "application/json", "responseSchema": SCHEMA}},
}
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}
AS_TOOLS: dict[str, dict[str, Any]] = {
    "ollama": {"tools": [{"type": "function", "function": FUNCTION}]},
    "openai": {"tools": [{"type": "function", "function": FUNCTION}]},
    "responses": {"tools": [{"type": "function", **FUNCTION}]},
    "anthropic": {"tools": [{"name": "f", "input_schema": FUNCTION["parameters"]}]},
    "gemini": {"tools": [{"functionDeclarations": [FUNCTION]}]},
}
NO_TOOL: dict[str, dict[str, Any]] = {
    "openai": {"tool_choice": "none"},
    "responses": {"tool_choice": "none"},
    "anthropic": {"tool_choice": {"type": "none"}},
    "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
}
LENGTH = Distribution("fixed", 10.0)


@pytest.mark.parametrize("wire", WIRES)
async def test_schema_is_kept_on_every_wire(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """The answer's text is JSON to the schema."""
    response = await chat(client, (await start()).url, wire, **AS_SCHEMA[wire])
    assert orjson.loads(answer_text(wire, response.json())) == {"n": 1}


@pytest.mark.parametrize("wire", WIRES)
async def test_json_without_strings_can_be_oversized(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """There is no digest to fill up behind, and the body is still valid JSON."""
    simulator = await start(oversize_bytes=50_000)
    response = await chat(client, simulator.url, wire, model="sim-fault-oversize", **AS_SCHEMA[wire])
    assert len(response.content) == 50_000
    assert response.json()


@pytest.mark.parametrize("wire", sorted(AS_TOOLS))
@pytest.mark.parametrize("is_stream", [False, True])
async def test_tool_call_has_digest(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, is_stream: bool
) -> None:
    """Its arguments tie it to the request, as an answer's text does."""
    response = await chat(client, (await start()).url, wire, stream=is_stream, **AS_TOOLS[wire])
    assert ECHO.split()[1] in response.text


@pytest.mark.parametrize("wire", sorted(NO_TOOL))
async def test_tool_not_to_be_used_is_not_called(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """The answer is in words."""
    response = await chat(client, (await start()).url, wire, **AS_TOOLS[wire], **NO_TOOL[wire])
    assert answer_text(wire, response.json()).startswith(ECHO)


@pytest.mark.parametrize(
    ("switch", "field"),
    [
        ({"thinking": {"type": "enabled"}}, "reasoning_content"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"reasoning": {"effort": "none"}}, None),
        ({"reasoning": {"enabled": False}}, None),
        ({"thinking": {"type": "disabled"}}, None),
        ({"reasoning_effort": "none"}, None),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_trace_stands_where_its_switch_belongs(
    start: StartSimulator,
    client: httpx.AsyncClient,
    switch: dict[str, Any],
    field: str | None,
    is_stream: bool,
) -> None:
    """DeepSeek's switch has DeepSeek's field, OpenRouter's its own."""
    response = await chat(client, (await start()).url, "openai", stream=is_stream, **switch)
    found = {name for name in ("reasoning_content", "reasoning") if f'"{name}":"' in response.text}
    assert found == ({field} if field else set())


def test_thoughts_use_up_the_cap_first() -> None:
    """What they leave is the answer's."""
    demand = Demand(is_thinking=True)
    answer = compose("d" * 16, 12, LENGTH, Dice(0), demand)
    assert (answer.thought_tokens, answer.tokens, answer.is_cut) == (10, 12, True)
    starved = compose("d" * 16, 4, LENGTH, Dice(0), demand)
    assert (starved.text, starved.tokens) == (f"echo {'d' * 16}", 4)


def test_json_that_the_cap_cut_is_broken() -> None:
    """As a model's is."""
    whole = compose("d" * 16, None, LENGTH, Dice(0), Demand(is_json=True))
    cut = compose("d" * 16, 3, LENGTH, Dice(0), Demand(is_json=True))
    assert orjson.loads(whole.text)["answer"].startswith("echo ")
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(cut.text)


def test_words_do_not_depend_on_form() -> None:
    """Thoughts are drawn apart, so asking for them changes no answer."""
    plain = compose("d" * 16, None, LENGTH, Dice(0))
    assert compose("d" * 16, None, LENGTH, Dice(0), Demand(is_thinking=True)).text == plain.text


TOOLS = [Tool("a", {}), Tool("b", {})]


@pytest.mark.parametrize(
    ("choice", "is_after_result", "called"),
    [
        (ToolChoice(), False, "a"),
        (ToolChoice(), True, None),
        (ToolChoice("none"), False, None),
        (ToolChoice("required"), True, "a"),
        (ToolChoice("required", ("b",)), False, "b"),
        (ToolChoice("auto", ("b",)), False, "b"),
    ],
)
def test_first_tool_that_may_be_called_is(
    choice: ToolChoice, is_after_result: bool, called: str | None
) -> None:
    """Unless a result was the last word, or none is wanted."""
    tool = choose_tool(TOOLS, choice, is_after_result=is_after_result)
    assert (tool.name if tool else None) == called


def test_required_tool_that_is_missing_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no tool of that name"):
        choose_tool(TOOLS, ToolChoice("required", ("c",)), is_after_result=False)


@pytest.mark.parametrize("field", ["usage", "usageMetadata"])
async def test_short_prompt_is_never_cached(
    start: StartSimulator, client: httpx.AsyncClient, field: str
) -> None:
    """Caches hold prompts from 1,024 tokens on."""
    wire = "gemini" if field == "usageMetadata" else "openai"
    url = (await start()).url
    _, second = [await chat(client, url, wire, user="x" * 4000) for _ in range(2)]
    assert "cached" not in str(second.json()[field])


INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("openai", {"tools": [{"type": "function", "function": {"name": "a b"}}]}, "must match"),
    ("openai", {"tools": "x"}, "array"),
    ("openai", {"tool_choice": "sometimes", "tools": []}, "tool_choice"),
    ("openai", {"tool_choice": {"type": "function", "function": {"name": "g"}}, **AS_TOOLS["openai"]}, "g"),
    ("openai", {"response_format": {"type": "yaml"}}, "response_format"),
    ("openai", {"response_format": {"type": "json_schema", "json_schema": {}}}, "name"),
    ("openai", {"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}, "preceeding"),
    ("responses", {"input": []}, "input"),
    ("responses", {"max_output_tokens": 3}, "minimum"),
    ("responses", {"text": "json"}, "objects"),
    ("responses", {"instructions": ["x"]}, "instructions"),
    (
        "responses",
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
        "No tool call found",
    ),
    ("ollama", {"think": "very"}, "invalid think value"),
    ("ollama", {"format": "yaml"}, "invalid format"),
    ("ollama", {"tools": [{"type": "function"}]}, "functions"),
    ("ollama", {"messages": [{"role": "user", "content": "x", "images": ["data:image/png"]}]}, "base64"),
    ("ollama_generate", {"images": "x"}, "base64"),
]


@pytest.mark.parametrize(("wire", "fields", "text"), INVALID)
async def test_form_that_is_none_is_refused(
    start: StartSimulator, client: httpx.AsyncClient, wire: str, fields: dict[str, Any], text: str
) -> None:
    """With what is wrong."""
    response = await chat(client, (await start()).url, wire, **fields)
    assert response.status_code == 400
    assert text in response.text
