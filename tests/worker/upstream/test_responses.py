"""The `responses` wire: OpenAI's chat words into those of its Responses API and back."""

from __future__ import annotations

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
from worker.upstream.answers import read_answer
from worker.upstream.responses import RESPONSES, request_body
from worker.upstream.responses_answer import completion

MODEL = "gpt-5.4-mini"


@pytest.mark.parametrize("exchange", exchanges("responses"))
def test_request_is_said_in_items(exchange: dict[str, Any]) -> None:
    check_request(RESPONSES, exchange)


@pytest.mark.parametrize("exchange", exchanges("responses"))
def test_answer_becomes_a_chat_completion(exchange: dict[str, Any]) -> None:
    check_answer(RESPONSES, "openai", exchange)


async def test_call_goes_to_responses(ask: Any) -> None:
    await check_call("responses", ask, path="/responses", headers={"authorization": f"Bearer {KEY}"})


def sent(model: str = MODEL, extra_body: dict[str, Any] | None = None, **fields: object) -> dict[str, Any]:
    return request_body(chat_request(**fields), model, extra_body or {})


def items(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(messages=list(messages))["input"]
    return found


REASONING: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = [
    (MODEL, {}, None),
    (MODEL, {"think": True}, {"summary": "auto"}),
    (MODEL, {"think": True, "reasoning_effort": "high"}, {"effort": "high", "summary": "auto"}),
    (MODEL, {"reasoning_effort": "xhigh"}, {"effort": "xhigh"}),
    (MODEL, {"think": False}, {"effort": "none"}),
    ("openai/gpt-5.1", {"reasoning_effort": "none"}, {"effort": "none"}),
    ("gpt-5-mini", {"think": False}, {"effort": "minimal"}),
    ("o4-mini", {"think": False}, {"effort": "low"}),
    ("grok-4.3", {"think": False}, None),
    (MODEL, {"reasoning": {"effort": "low"}, "think": "high"}, {"effort": "low", "summary": "auto"}),
]


@pytest.mark.parametrize(("model", "fields", "expected"), REASONING)
def test_thinking_is_an_effort(model: str, fields: dict[str, Any], expected: dict[str, Any] | None) -> None:
    """Off is the least a model takes, and a summary is asked for with `think` alone: some accounts get none."""
    assert sent(model, **fields).get("reasoning") == expected


def test_request_wins_over_extra_body() -> None:
    """`reasoning` and `text` are merged field by field; nothing is kept at the provider unless it says so."""
    extra = {
        "reasoning": {"effort": "high", "summary": "detailed"},
        "text": {"verbosity": "low"},
        "store": True,
    }
    body = sent(MODEL, extra, reasoning_effort="low", format="json")
    assert body["reasoning"] == {"effort": "low", "summary": "detailed"}
    assert body["text"] == {"verbosity": "low", "format": {"type": "json_object"}}
    assert body["store"] is True


def test_least_output_limit_is_kept() -> None:
    """A lower one is a 400."""
    assert sent(max_tokens=3)["max_output_tokens"] == 16


def test_sampling_has_the_same_names() -> None:
    """Models that refuse it have a quirk for that."""
    body = sent(temperature=0.5, top_p=0.9)
    assert (body["temperature"], body["top_p"]) == (0.5, 0.9)


TOOLS = [{"type": "function", "function": {"name": name}} for name in "ab"]
NAMED = [{"type": "function", "name": name} for name in "ab"]
CHOICES: list[tuple[object, object]] = [
    ("required", "required"),
    ({"type": "function", "function": {"name": "a"}}, NAMED[0]),
    (
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": TOOLS}},
        {"type": "allowed_tools", "mode": "auto", "tools": NAMED},
    ),
]


@pytest.mark.parametrize(("choice", "expected"), CHOICES)
def test_tool_choice_is_translated(choice: object, expected: object) -> None:
    assert sent(tools=TOOLS, tool_choice=choice)["tool_choice"] == expected


def test_tools_are_not_strict_unless_asked() -> None:
    """Left out, strict means yes here and no in chat completions."""
    assert sent(tools=TOOLS)["tools"][0] == {
        "type": "function", "name": "a", "strict": False, "parameters": {"type": "object", "properties": {}},
    }  # fmt: skip


FUNCTION = {"name": "a", "arguments": {"b": 1}}
MESSAGES: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]] = [
    (
        [{"role": "developer", "content": "A"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}],
        [{"role": "developer", "content": "A"}, {"role": "assistant", "content": "b"}],
    ),
    ([{"role": "user"}], [{"role": "user", "content": ""}]),
    (
        [
            {"role": "assistant", "content": "x", "tool_calls": [{"id": "c", "function": FUNCTION}]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "image_url", "image_url": "https://pics.test/a"}]},
        ],
        [
            {"role": "assistant", "content": "x"},
            {"type": "function_call", "call_id": "c", "name": "a", "arguments": '{"b":1}'},
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [{"type": "input_image", "image_url": "https://pics.test/a"}],
            },
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "expected"), MESSAGES)
def test_messages_become_items(messages: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert items(*messages) == expected


def deep(levels: int) -> dict[str, Any]:
    """An object that orjson does not write."""
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


UNSAYABLE: list[tuple[dict[str, Any], str]] = [
    ({"stop": "x"}, "^stop: "),
    ({"n": 2}, "^n: "),
    ({"text": 5}, "^text: "),
    ({"reasoning": "much"}, "^reasoning: "),
    (
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c", "function": {"name": "a", "arguments": deep(300)}}],
                }
            ]
        },
        "^messages.0.tool_calls: .*'a' have no JSON form",
    ),
    ({"messages": [{"role": "assistant", "images": ["/9j/"]}]}, "^messages.0: .*no images"),
]


@pytest.mark.parametrize(("fields", "words"), UNSAYABLE)
def test_unsayable_request_is_refused(fields: dict[str, Any], words: str) -> None:
    """What this API has no words for is refused before anything is sent, and named."""
    with pytest.raises(CandidateUnfit, match=words):
        sent(**fields)


def answer(*output: object, **fields: object) -> dict[str, Any]:
    return {"status": "completed", "output": list(output), **fields}


def said(*content: object) -> dict[str, Any]:
    return {"type": "message", "content": list(content)}


def test_text_beside_a_refusal_is_an_answer() -> None:
    """Only a refusal alone is none."""
    parts = ({"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"})
    assert completion(answer(said(*parts)), MODEL).finish_reason == "stop"


def test_open_reasoning_is_kept() -> None:
    """Open models show their reasoning as text, not as a summary; items of other kinds are passed over."""
    reasoning = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}
    search = {"type": "web_search_call", "status": "completed"}
    text = {"type": "output_text", "text": "a"}
    message = completion(answer(reasoning, search, said(text)), MODEL).response["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "a", "reasoning_content": "hm"}


def test_cut_text_is_an_answer() -> None:
    """A filter or a limit that cut the end off is told by the finish reason."""
    text = said({"type": "output_text", "text": "a"})
    reasons = ("content_filter", "max_output_tokens", "new_reason", None)
    read = [
        completion(answer(text, status="incomplete", incomplete_details={"reason": reason}), MODEL)
        for reason in reasons
    ]
    assert [one.finish_reason for one in read] == ["content_filter", "length", "new_reason", "length"]


def test_failed_answer_is_an_error() -> None:
    """With the provider's words for it, read before the wire reads anything."""
    failed = {"status": "failed", "error": {"code": "server_error", "message": "Sorry"}, "output": []}
    with pytest.raises(UpstreamUnavailable, match="Sorry"):
        completion(read_answer(orjson.dumps(failed), "openai"), MODEL)


NO_ANSWERS: list[tuple[dict[str, Any], str]] = [
    ({}, "truncated"),
    (answer(status="queued"), "truncated"),
    (answer(status="failed"), "error_in_answer"),
    (answer(status="cancelled"), "interrupted"),
    (answer("a"), "malformed"),
    ({"status": "completed", "output": None}, "malformed"),
    (answer(said("a")), "malformed"),
    (answer(said({"type": "output_text"})), "malformed"),
    (answer({"type": "function_call", "name": "a"}), "malformed"),
    (answer({"type": "reasoning", "summary": "x"}), "malformed"),
]


@pytest.mark.parametrize(("data", "code"), NO_ANSWERS)
def test_200_without_an_answer_fails(data: dict[str, Any], code: str) -> None:
    with pytest.raises(UpstreamUnavailable) as caught:
        completion(data, MODEL)
    assert (caught.value.code, caught.value.maybe_billed) == (code, True)


@unhurried
@given(any_request())
def test_any_request_is_said_or_refused(request: ChatRequest) -> None:
    """Nothing but our own error leaves the translation."""
    try:
        orjson.dumps(request_body(request, MODEL, {}))
    except CandidateUnfit as error:
        assert str(error)


ITEMS = st.lists(
    any_answer(
        type=st.sampled_from(["message", "reasoning", "function_call"]),
        content=st.lists(any_answer(type=st.just("output_text"), text=st.text())),
        name=st.text(),
        arguments=st.text(),
    )
)
ANSWERS = any_answer(
    status=st.sampled_from(["completed", "incomplete"]),
    output=ITEMS,
    incomplete_details=JSON,
    usage=any_answer(input_tokens=st.integers(), input_tokens_details=JSON),
)


@unhurried
@given(ANSWERS)
def test_any_answer_is_read_or_refused(data: dict[str, Any]) -> None:
    """Foreign JSON never breaks the reader."""
    try:
        completion(data, MODEL)
    except UpstreamError as error:
        assert error.maybe_billed
