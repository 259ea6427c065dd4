"""Pieces of streamed answers, on every wire: together they say what the whole answer says."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.answer_pieces import Told
from shared.errors import UpstreamError
from tests.worker.upstream.conftest import Caller
from tests.worker.upstream.loopback import chat_request
from tests.worker.upstream.streams.recorded import RECORDED, TEXT_EVENT, chunk, named, piece, sse
from worker.upstream.streams import STREAMS

TEXTS = ("content", "reasoning_content")

NO_ANSWER = ("gemini: blocked prompt", "responses: failed", "responses: error")

WHOLE_ONLY = ("the whole answer as one event", "responses: opencode", "responses: incomplete")
"""Streams that have their answer in one event, so that there is nothing to tell before."""


async def followed(
    caller: Caller, wire: str, content_type: str, stream: bytes, *, tools: Any = None, quirks: Any = ()
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The pieces that a call tells, and the answer it brings."""
    told: list[dict[str, Any]] = []
    answer = httpx.Response(200, headers={"content-type": content_type}, content=stream)
    transport = httpx.MockTransport(lambda _: answer)
    upstream = caller.open("http://upstream.test", wire=wire, quirks=quirks, transport=transport)
    request = chat_request(tools=tools) if tools else chat_request()
    got = await upstream.call(request, "m", headers={}, timeout_s=5, on_delta=told.extend)
    return told, got.response


def together(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that pieces of the first choice make."""
    message: dict[str, Any] = {}
    calls: dict[int, dict[str, Any]] = {}
    for one in pieces:
        delta = one["delta"] if one["index"] == 0 else {}
        for name in TEXTS:
            if name in delta:
                message[name] = message.get(name, "") + delta[name]
        for call in delta.get("tool_calls", ()):
            function = call["function"]
            known = calls.setdefault(call["index"], {"name": function.get("name"), "arguments": ""})
            known["arguments"] += function.get("arguments", "")
    return {**message, "calls": [calls[index] for index in sorted(calls)]}


def said(response: dict[str, Any]) -> dict[str, Any]:
    """The same of a whole answer."""
    message = response["choices"][0]["message"]
    texts = {name: message.get(name) for name in TEXTS}
    texts["reasoning_content"] = texts["reasoning_content"] or message.get("reasoning")
    calls = [call["function"] for call in message.get("tool_calls", ())]
    return {**{name: text for name, text in texts.items() if text}, "calls": calls}


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in NO_ANSWER])
async def test_pieces_say_what_the_whole_answer_says(caller: Caller, name: str) -> None:
    """To the last character, tool calls with their names and arguments included."""
    wire, content_type, stream, _ = RECORDED[name]
    pieces, response = await followed(caller, wire, content_type, stream)
    told = Told()
    told.add(pieces)
    rest = told.rest(response)
    assert together([*pieces, *rest]) == said(response)
    has_texts = any(text in choice["delta"] for choice in rest for text in TEXTS)
    assert has_texts == any(words in name for words in WHOLE_ONLY)


@pytest.mark.parametrize("name", NO_ANSWER)
async def test_no_answer_has_no_pieces(caller: Caller, name: str) -> None:
    """So that the job may be tried again, or elsewhere."""
    wire, content_type, stream, _ = RECORDED[name]
    told: list[Any] = []
    answer = httpx.Response(200, headers={"content-type": content_type}, content=stream)
    transport = httpx.MockTransport(lambda _: answer)
    upstream = caller.open("http://upstream.test", wire=wire, transport=transport)
    with pytest.raises(UpstreamError):
        await upstream.call(chat_request(), "m", headers={}, timeout_s=5, on_delta=told.append)
    assert told == []


async def test_responses_tell_calls_and_traces(caller: Caller) -> None:
    """Arguments come in pieces; parts of the trace have a blank line between them."""
    summary = {"type": "response.reasoning_summary_text.delta", "output_index": 0}
    call = {"type": "function_call", "name": "f", "call_id": "c", "arguments": ""}
    arguments = {"type": "response.function_call_arguments.delta", "output_index": 1}
    stream = named(
        {**summary, "summary_index": 0, "delta": "one"},
        {**summary, "summary_index": 1, "delta": "two"},
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {**arguments, "delta": '{"x"'},
        {**arguments, "delta": ":1}"},
        {
            "type": "response.completed",
            "response": {"status": "completed", "output": [{**call, "arguments": '{"x":1}'}]},
        },
    )
    pieces, _ = await followed(caller, "responses", TEXT_EVENT, stream)
    assert together(pieces) == {
        "reasoning_content": "one\n\ntwo",
        "calls": [{"name": "f", "arguments": '{"x":1}'}],
    }


async def test_pieces_have_the_callers_function_names(caller: Caller) -> None:
    """Names that the provider would refuse were made safe on the way out."""
    tools = [{"type": "function", "function": {"name": "a.b", "parameters": {}}}]
    stream = sse(
        chunk(piece(0, id="a", type="function", name="a_b", arguments="{}")),
        chunk({}, "tool_calls"),
        done=True,
    )
    pieces, response = await followed(
        caller, "openai", TEXT_EVENT, stream, tools=tools, quirks=("safe_function_names",)
    )
    assert together(pieces)["calls"] == said(response)["calls"] == [{"name": "a.b", "arguments": "{}"}]


async def test_error_in_the_stream_tells_nothing_more(caller: Caller) -> None:
    told: list[Any] = []
    stream = sse(chunk({"content": "a"}), {"error": {"message": "no"}}, chunk({"content": "b"}))
    answer = httpx.Response(200, headers={"content-type": TEXT_EVENT}, content=stream)
    upstream = caller.open("http://upstream.test", transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(UpstreamError):
        await upstream.call(chat_request(), "m", headers={}, timeout_s=5, on_delta=told.extend)
    assert [one["delta"] for one in told] == [{"content": "a"}]


NAMES = (
    "type", "choices", "delta", "index", "content", "tool_calls", "function", "name", "arguments", "id", "message",
    "candidates", "parts", "text", "functionCall", "args", "thought", "content_block", "partial_json", "item",
    "output_index", "thinking", "response", "reasoning", "logprobs",
)  # fmt: skip
KINDS = (
    "content_block_start", "content_block_delta", "text_delta", "input_json_delta", "tool_use",
    "response.output_item.added", "response.function_call_arguments.delta", "function_call",
    "response.output_text.delta",
)  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 20_000)
    | st.floats(0, 1)
    | st.sampled_from(("", "a", *KINDS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.dictionaries(st.sampled_from(NAMES), JSON), max_size=4))
def test_events_of_any_shape_are_read_or_passed_over(wire: Any, events: list[dict[str, Any]]) -> None:
    """They are foreign; a broken one must not cost the answer."""
    deltas, told = STREAMS[wire].deltas(), Told()
    for event in events:
        told.add(deltas.read(event))
