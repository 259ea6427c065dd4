"""The `anthropic` wire: OpenAI's words into Anthropic's and back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chat import ChatRequest
from shared.errors import CandidateUnfit, UpstreamError, UpstreamUnavailable
from tests.worker.upstream.any_request import JSON, any_answer, any_request, unhurried
from tests.worker.upstream.conftest import KEY
from tests.worker.upstream.exchange import check_answer, check_call, check_request, exchanges
from tests.worker.upstream.loopback import chat_request
from worker.upstream.anthropic import ANTHROPIC, request_body
from worker.upstream.anthropic_answer import completion
from worker.upstream.anthropic_schema import closed

MODEL = "claude-opus-4-7"


@pytest.mark.parametrize("exchange", exchanges("anthropic"))
def test_request_is_said_in_anthropics_words(exchange: dict[str, Any]) -> None:
    check_request(ANTHROPIC, exchange)


@pytest.mark.parametrize("exchange", exchanges("anthropic"))
def test_answer_becomes_a_chat_completion(exchange: dict[str, Any]) -> None:
    check_answer(ANTHROPIC, "anthropic", exchange)


async def test_call_states_the_version(ask: Any) -> None:
    """Without it every call is a 400; the key has a header of its own."""
    headers = {"anthropic-version": "2023-06-01", "x-api-key": KEY}
    await check_call("anthropic", ask, path="/messages", headers=headers)


def sent(model: str = MODEL, extra_body: dict[str, Any] | None = None, **fields: object) -> dict[str, Any]:
    return request_body(chat_request(**fields), model, extra_body or {})


def messages(*given_messages: dict[str, Any], model: str = MODEL) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(model, messages=list(given_messages))["messages"]
    return found


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(id: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


ADAPTIVE = {"type": "adaptive", "display": "summarized"}
THINKING: list[tuple[str, dict[str, Any], dict[str, Any] | None, str | None]] = [
    ("claude-3-5-haiku-20241022", {"think": True}, None, None),
    ("claude-3-7-sonnet-20250219", {"think": True}, {"type": "enabled", "budget_tokens": 8192}, None),
    ("claude-sonnet-4-20250514", {"think": "low"}, {"type": "enabled", "budget_tokens": 2048}, None),
    ("claude-opus-4-5-20251101", {"think": "max"}, {"type": "enabled", "budget_tokens": 16_384}, None),
    ("claude-opus-4-5", {"think": False}, None, None),
    ("claude-opus-4-6", {"think": True}, ADAPTIVE, None),
    ("anthropic/claude-opus-4.7", {"think": "minimal"}, ADAPTIVE, "low"),
    ("claude-opus-4-8", {"think": False}, None, None),
    ("claude-sonnet-5", {"reasoning_effort": "none"}, {"type": "disabled"}, None),
    ("claude-opus-5", {"think": False}, {"type": "disabled"}, None),
    ("claude-haiku-5-5", {"think": False}, {"type": "disabled"}, None),
    ("claude-sonnet-5-5", {"think": False}, {"type": "between_tools"}, None),
    ("claude-opus-5-5", {"think": False}, None, "low"),
    ("claude-fable-5", {"think": False}, None, "low"),
    ("claude-mythos-preview", {"think": "xhigh"}, ADAPTIVE, "xhigh"),
    ("claude-opus-5-5", {}, None, None),
    ("qwen3-max", {"think": True}, {"type": "enabled", "budget_tokens": 8192}, None),
    ("minimax-m3", {"think": False}, {"type": "disabled"}, None),
]


@pytest.mark.parametrize(("model", "fields", "thinking", "effort"), THINKING)
def test_thinking_is_said_by_family(
    model: str, fields: dict[str, Any], thinking: dict[str, Any] | None, effort: str | None
) -> None:
    """A budget, an effort, or neither: what a model does not know is a 400."""
    body = sent(model, **fields)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort


LIMITS: list[tuple[dict[str, Any], dict[str, Any], int, int | None]] = [
    ({}, {}, 8192, None),
    ({}, {"max_tokens": 500}, 500, None),
    ({"max_tokens": 20_000}, {}, 20_000, None),
    ({"think": "low"}, {}, 10_240, 2048),
    ({"think": "low"}, {"max_tokens": 500}, 10_240, 2048),
    ({"think": "low", "max_tokens": 3000}, {}, 3000, 2048),
    ({"think": "high", "max_tokens": 10_000}, {}, 10_000, 5000),
    ({"think": "high", "max_tokens": 1500}, {}, 1500, 1024),
    ({}, {"thinking": {"type": "enabled", "budget_tokens": 9000}}, 17_192, 9000),
    ({"think": False}, {"thinking": {"type": "enabled", "budget_tokens": 9000}}, 8192, None),
    ({"thinking": {"type": "enabled", "budget_tokens": 1500}}, {}, 9692, 1500),
]


@pytest.mark.parametrize(("fields", "extra_body", "limit", "budget"), LIMITS)
def test_output_limit_leaves_room_for_thinking(
    fields: dict[str, Any], extra_body: dict[str, Any], limit: int, budget: int | None
) -> None:
    """`max_tokens` must be there and counts the budget, which must be below it; the caller's limit stands."""
    body = sent("claude-haiku-4-5", extra_body, **fields)
    assert (body["max_tokens"], body.get("thinking", {}).get("budget_tokens")) == (limit, budget)


def test_sampling_is_for_other_vendors_models() -> None:
    """Claude answers 400 to it; others on this wire take it."""
    sampling: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "top_k": 3}
    assert sent(**sampling).keys().isdisjoint(sampling)
    assert sampling.items() <= sent("qwen3-max", **sampling).items()


def test_request_wins_over_extra_body() -> None:
    """`output_config` is merged field by field."""
    extra = {"output_config": {"effort": "max", "x": 1}, "service_tier": "auto", "model": "other"}
    body = sent(MODEL, extra, think="low")
    assert body["output_config"] == {"effort": "low", "x": 1}
    assert (body["service_tier"], body["model"]) == ("auto", MODEL)


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"properties": {}}, "strict": True}}
CHOICES: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    ({}, None),
    ({"tool_choice": "auto"}, {"type": "auto"}),
    ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
    ({"tool_choice": "required"}, {"type": "any"}),
    ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
    ({"tool_choice": {"type": "function", "function": {"name": "add"}}}, {"type": "tool", "name": "add"}),
]


@pytest.mark.parametrize(("fields", "expected"), CHOICES)
def test_tool_choice_is_translated(fields: dict[str, Any], expected: dict[str, Any] | None) -> None:
    body = sent(tools=[TOOL], **fields)
    assert body.get("tool_choice") == expected
    schema = {"type": "object", "properties": {}}
    assert body["tools"] == [{"name": "add", "input_schema": schema, "strict": True}]


def test_allowed_tools_are_the_only_ones_declared() -> None:
    """Anthropic's choice names one tool at most."""
    tools = [{"type": "function", "function": {"name": name}} for name in "abc"]
    allowed = {"mode": "required", "tools": tools[:2]}
    body = sent(tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [tool["name"] for tool in body["tools"]] == ["a", "b"]
    assert body["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-4-7"])
def test_forced_call_comes_without_thinking(model: str) -> None:
    """Both together are a 400, and the call is what the request cannot do without."""
    assert "thinking" not in sent(model, tools=[TOOL], tool_choice="required", think=True)


HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "go"},
    {"role": "assistant", "content": "I add.", "tool_calls": [call("a.1")]},
    {"role": "user", "content": "quick"},
    {"role": "tool", "tool_call_id": "a.1", "content": "5"},
]


def test_results_come_first_after_their_calls() -> None:
    """They must follow the calls at once, and neighbours of one role are one message."""
    assert messages(*HISTORY) == [
        {"role": "user", "content": [text("go")]},
        {
            "role": "assistant",
            "content": [text("I add."), {"type": "tool_use", "id": "a_1", "name": "add", "input": {"a": 1}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "a_1", "content": [text("5")]}, text("quick")],
        },
    ]


def test_called_tools_are_always_declared() -> None:
    """A history with calls is refused without tools, which must not be called again."""
    body = sent(messages=HISTORY)
    assert body["tools"] == [{"name": "add", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}


def test_begun_answer_goes_to_models_that_go_on() -> None:
    """Claude did until 5."""
    begun = ({"role": "user", "content": "go"}, {"role": "assistant", "content": "I"})
    assert messages(*begun)[-1] == {"role": "assistant", "content": [text("I")]}


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
HIDDEN = {"type": "redacted_thinking", "data": "eHg="}


def test_signed_thoughts_go_back_unchanged() -> None:
    """Only to Claude, and only those that it signed."""
    said = {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "hm",
        "thinking_blocks": [THOUGHT, {"type": "thinking", "thinking": "x"}, HIDDEN, "odd"],
    }
    history = ({"role": "user", "content": "go"}, said)
    assert messages(*history)[1]["content"] == [THOUGHT, HIDDEN, text("a")]
    assert messages(*history, model="qwen3-max")[1]["content"] == [text("a")]


def test_budget_is_left_out_after_calls_made_without_thought() -> None:
    """Anthropic wants the thoughts in front of the last calls; with an effort it does not."""
    thoughtful = [dict(message) for message in HISTORY]
    thoughtful[1]["thinking_blocks"] = [THOUGHT]
    asked: dict[str, Any] = {"messages": HISTORY, "think": True}
    assert "thinking" not in sent("claude-haiku-4-5", **asked)
    assert "thinking" in sent("claude-haiku-4-5", **{**asked, "messages": thoughtful})
    assert "thinking" in sent("claude-opus-4-7", **asked)


def test_cache_marks_are_kept() -> None:
    """Of text, images and tools; a mark of the whole request, too."""
    mark = {"type": "ephemeral"}
    part = {"type": "text", "text": "long", "cache_control": mark}
    body = sent(
        messages=[{"role": "user", "content": [part]}],
        tools=[{**TOOL, "cache_control": mark}],
        cache_control=mark,
    )
    assert body["messages"][0]["content"] == [part]
    assert (body["tools"][0]["cache_control"], body["cache_control"]) == (mark, mark)


MESSAGES: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]] = [
    ([{"role": "system", "content": "Be."}], [{"role": "user", "content": [text("Be.")]}]),
    (
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": [text("a"), text("b")]}],
    ),
    (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://pics.test/a"}}]}],
        [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://pics.test/a"}}]}],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given_messages", "expected"), MESSAGES)
def test_messages_become_turns(given_messages: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert messages(*given_messages) == expected


def test_objects_of_a_schema_are_closed() -> None:
    """An open object is refused; what the schema says itself, and what is no schema, stays."""
    inner = {"type": "object"}
    schema = {
        "type": "object",
        "properties": {"type": {"type": "string"}, "a": inner, "b": {**inner, "additionalProperties": True}},
        "anyOf": [inner],
        "items": inner,
        "default": inner,
    }
    shut = {**inner, "additionalProperties": False}
    assert closed(schema) == {
        "type": "object",
        "properties": {"type": {"type": "string"}, "a": shut, "b": {**inner, "additionalProperties": True}},
        "anyOf": [shut],
        "items": shut,
        "default": inner,
        "additionalProperties": False,
    }
    assert inner == {"type": "object"}


def test_endless_schema_is_not_followed() -> None:
    """The request comes from anywhere; a deep one must not end the worker."""
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(5000):
        schema = {"items": schema}
    assert closed(schema)["items"]


SVG = {"type": "image_url", "image_url": "data:image/svg+xml;base64,AAAA"}
HTTP = {"type": "image_url", "image_url": "http://pics.test/a.png"}
HTTPS = {"type": "image_url", "image_url": "https://pics.test/a.png"}
UNSAYABLE: list[tuple[str, dict[str, Any], str]] = [
    (MODEL, {"response_format": {"type": "json_object"}}, "^response_format: "),
    (MODEL, {"format": "json"}, "^response_format: "),
    (MODEL, {"stop": ["\n\n"]}, "^stop: "),
    (MODEL, {"n": 3}, "^n: "),
    (MODEL, {"output_config": 5}, "^output_config: "),
    (MODEL, {"thinking": "much"}, "^thinking: "),
    (MODEL, {"messages": [{"role": "user", "content": [SVG]}]}, "^messages.0: .*svg"),
    (MODEL, {"messages": [{"role": "user", "content": [HTTP]}]}, "^messages.0: .*http://pics.test/a.png"),
    (MODEL, {"messages": [{"role": "system", "content": [HTTPS]}]}, "^messages.0: .*'system'"),
    ("claude-opus-5", {"messages": [{"role": "assistant", "content": "I"}]}, "^messages: .*begun"),
    (MODEL, {"messages": [{"role": "user", "content": " "}]}, "^messages: there is no text"),
    ("claude-haiku-4-5", {"think": True, "max_tokens": 1024}, "^max_tokens: "),
    ("claude-opus-5-5", {"tools": [TOOL], "tool_choice": "required"}, "^tool_choice: "),
    ("claude-fable-5", {"tools": [TOOL], "tool_choice": "required"}, "^tool_choice: "),
    (
        MODEL,
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        "^tool_choice: names none",
    ),
]


@pytest.mark.parametrize(("model", "fields", "words"), UNSAYABLE)
def test_unsayable_request_is_refused(model: str, fields: dict[str, Any], words: str) -> None:
    """What Anthropic has no words for is refused before anything is sent, and named."""
    with pytest.raises(CandidateUnfit, match=words):
        sent(model, **fields)


def answer(*blocks: object, stop: object = "end_turn") -> dict[str, Any]:
    return {"content": list(blocks), "stop_reason": stop}


FINISHES = [
    ("stop_sequence", "stop"),
    ("model_context_window_exceeded", "length"),
    ("pause_turn", "pause_turn"),
]


@pytest.mark.parametrize(("stated", "expected"), FINISHES)
def test_stop_reason_becomes_finish_reason(stated: str, expected: str) -> None:
    """In OpenAI's words where it has one."""
    assert completion(answer(text("a"), stop=stated), MODEL).finish_reason == expected


def test_refusal_names_its_category() -> None:
    """And none of the words that were said before it."""
    with pytest.raises(CandidateUnfit, match=r"^the model refused \(cyber\)$"):
        completion({**answer(text("a"), stop="refusal"), "stop_details": {"category": "cyber"}}, MODEL)


def test_missing_usage_is_unknown() -> None:
    """Not zero: unknown cannot be billed."""
    assert set(completion(answer(text("a")), MODEL).usage.values()) == {None}


NO_ANSWERS: list[tuple[dict[str, Any], str]] = [
    ({}, "truncated"),
    (answer(text("a"), stop=None), "truncated"),
    (answer(text("a"), stop=5), "truncated"),
    (answer("a"), "malformed"),
    (answer(text(5)), "malformed"),  # type: ignore[arg-type]
    (answer({"type": "tool_use"}), "malformed"),
    (answer({"type": "thinking"}), "malformed"),
    ({"content": "a", "stop_reason": "end_turn"}, "malformed"),
]


@pytest.mark.parametrize(("data", "code"), NO_ANSWERS)
def test_200_without_an_answer_fails(data: dict[str, Any], code: str) -> None:
    with pytest.raises(UpstreamUnavailable) as caught:
        completion(data, MODEL)
    assert (caught.value.code, caught.value.maybe_billed) == (code, True)


MODELS = st.sampled_from([MODEL, "claude-haiku-4-5", "claude-sonnet-5-5", "qwen3-max"])


@unhurried
@given(any_request(), MODELS)
def test_any_request_is_said_or_refused(request: ChatRequest, model: str) -> None:
    """Nothing but our own error leaves the translation; roles take turns, and a budget is below the limit."""
    try:
        body = request_body(request, model, {})
    except CandidateUnfit:
        return
    roles = [message["role"] for message in body["messages"]]
    assert roles
    assert all(one != other for one, other in pairwise(roles))
    budget = body.get("thinking", {}).get("budget_tokens")
    assert not isinstance(budget, int) or budget < body["max_tokens"]
    orjson.dumps(body)


BLOCKS = st.lists(
    any_answer(
        type=st.sampled_from(["text", "thinking", "tool_use"]),
        text=st.text(),
        thinking=st.text(),
        name=st.text(),
    )
)
ANSWERS = any_answer(
    content=BLOCKS,
    stop_reason=st.sampled_from(["end_turn", "refusal"]),
    stop_details=JSON,
    usage=any_answer(input_tokens=st.integers(), output_tokens_details=JSON),
)


@unhurried
@given(ANSWERS)
def test_any_answer_is_read_or_refused(data: dict[str, Any]) -> None:
    """Foreign JSON never breaks the reader."""
    try:
        completion(data, MODEL)
    except UpstreamError as error:
        assert error.maybe_billed
