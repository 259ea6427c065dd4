"""The `gemini` wire: OpenAI's words into Gemini's and back."""

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
from worker.upstream.gemini import GEMINI, request_body
from worker.upstream.gemini_answer import completion
from worker.upstream.gemini_contents import NO_SIGNATURE
from worker.upstream.wire import path_for

MODEL = "gemini-3-flash-preview"


@pytest.mark.parametrize("exchange", exchanges("gemini"))
def test_request_is_said_in_geminis_words(exchange: dict[str, Any]) -> None:
    check_request(GEMINI, exchange)


@pytest.mark.parametrize("exchange", exchanges("gemini"))
def test_answer_becomes_a_chat_completion(exchange: dict[str, Any]) -> None:
    check_answer(GEMINI, "gemini", exchange)


async def test_call_names_the_model_in_its_path(ask: Any) -> None:
    await check_call("gemini", ask, path="/models/m:generateContent", headers={"x-goog-api-key": KEY})


def test_model_is_one_step_of_the_path() -> None:
    """Its name comes from the job."""
    assert path_for(GEMINI.path, "gemini-3/../x?a") == "/models/gemini-3%2F..%2Fx%3Fa:generateContent"


def sent(model: str = MODEL, **fields: object) -> dict[str, Any]:
    return request_body(chat_request(**fields), model, {})


def config(model: str = MODEL, **fields: object) -> dict[str, Any]:
    found: dict[str, Any] = sent(model, **fields).get("generationConfig", {})
    return found


def contents(*messages: dict[str, Any], model: str = MODEL) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(model, messages=list(messages))["contents"]
    return found


def call(id: str, name: str = "add", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


THINKING = [
    ("gemini-2.5-pro", {"think": False}, {"thinkingBudget": 128}),
    ("gemini-2.5-pro", {"think": True}, {"includeThoughts": True, "thinkingBudget": -1}),
    ("gemini-2.5-pro", {"reasoning_effort": "max"}, {"includeThoughts": True, "thinkingBudget": 32_768}),
    ("gemini-2.5-flash", {"think": "max"}, {"includeThoughts": True, "thinkingBudget": 24_576}),
    ("gemini-2.5-flash-lite", {"think": "minimal"}, {"includeThoughts": True, "thinkingBudget": 1024}),
    ("google/Gemini-2.5-Flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
    ("gemini-2.5-flash-image", {"think": True}, None),
    ("gemini-2.0-flash", {"think": "high"}, None),
    ("gemini-3-flash-preview", {"think": False}, {"thinkingLevel": "MINIMAL"}),
    ("gemini-3.1-pro-preview", {"think": False}, {"thinkingLevel": "LOW"}),
    ("gemini-3.8-flash", {"reasoning_effort": "minimal"}, {"includeThoughts": True, "thinkingLevel": "LOW"}),
    ("gemini-3.1-pro-preview", {"think": True}, {"includeThoughts": True}),
    ("gemini-4-new", {"think": "xhigh"}, {"includeThoughts": True, "thinkingLevel": "HIGH"}),
    ("gemini-flash-latest", {"think": "medium"}, {"includeThoughts": True, "thinkingLevel": "MEDIUM"}),
    ("gemini-3-flash-preview", {"think": False, "reasoning_effort": "high"}, {"thinkingLevel": "MINIMAL"}),
    (MODEL, {"think": True, "reasoning_effort": "low"}, {"includeThoughts": True, "thinkingLevel": "LOW"}),
    ("gemini-3-flash-preview", {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("model", "fields", "expected"), THINKING)
def test_thinking_is_a_budget_or_a_level(
    model: str, fields: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    """Up to 2.5 a budget, from 3 on a level, never both; off is as little as the model can."""
    assert config(model, **fields).get("thinkingConfig") == expected


def test_request_wins_over_extra_body() -> None:
    """`generationConfig` is merged field by field: the provider's, the request's, the request's own object."""
    extra = {
        "safetySettings": [{"category": "c", "threshold": "OFF"}],
        "generationConfig": {"topK": 1, "seed": 1, "thinkingConfig": {"thinkingBudget": 0}},
    }
    asked = chat_request(seed=2, temperature=1, think="low", generationConfig={"temperature": 0})
    body = request_body(asked, MODEL, extra)
    assert body["safetySettings"] == extra["safetySettings"]
    assert body["generationConfig"] == {
        "topK": 1, "seed": 2, "temperature": 0,
        "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
    }  # fmt: skip


def test_large_seed_is_folded() -> None:
    """Gemini's seed is an int32, and the same seed stays the same."""
    assert config(seed=2**40 + 7)["seed"] == 7


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ({"type": "function", "function": {"name": "add"}}, {"mode": "ANY", "allowedFunctionNames": ["add"]}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "add"}}],
                },
            },
            {"mode": "VALIDATED", "allowedFunctionNames": ["add"]},
        ),
    ],
)
def test_tool_choice_is_translated(choice: object, expected: dict[str, Any]) -> None:
    body = sent(tools=[{"type": "function", "function": {"name": "add"}}], tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": expected}


def test_results_of_one_answer_go_back_together() -> None:
    """Gemini wants as many results in one content as there were calls; what the user adds comes after."""
    turns = contents(
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "", "tool_calls": [call("c1"), call("c2", "now")]},
        {"role": "tool", "tool_call_id": "c2", "content": "{late"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "5"}]},
        {"role": "user", "content": "and?"},
    )
    assert [turn["role"] for turn in turns] == ["user", "model", "user", "user"]
    assert [part["functionResponse"] for part in turns[2]["parts"]] == [
        {"id": "c2", "name": "now", "response": {"output": "{late"}},
        {"id": "c1", "name": "add", "response": {"output": "5"}},
    ]


def test_repeated_call_ids_are_told_apart() -> None:
    """Some models number their calls anew in each answer."""
    turn: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "tool_calls": [call("call_0")]},
        {"role": "tool", "tool_call_id": "call_0", "content": "x"},
    ]
    turns = contents({"role": "user", "content": "go"}, *turn, *turn)
    ids = [
        part[kind]["id"]
        for content in turns
        for part in content["parts"]
        for kind in ("functionCall", "functionResponse")
        if kind in part
    ]
    assert ids == ["call_0", "call_0", "call_0_2", "call_0_2"]


@pytest.mark.parametrize(("model", "expected"), [(MODEL, NO_SIGNATURE), ("gemini-2.5-pro", None)])
def test_foreign_call_gets_a_stand_in_signature(model: str, expected: str | None) -> None:
    """Gemini 3 refuses calls without a signature; calls of another model have none. The first one needs it."""
    said = {"role": "assistant", "content": None, "tool_calls": [call("c1"), call("c2")]}
    parts = contents({"role": "user", "content": "go"}, said, model=model)[1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [expected, None]


MESSAGES = [
    ([{"role": "system", "content": "Be."}], [{"role": "user", "parts": [{"text": "Be."}]}]),
    (
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}],
    ),
    (
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": ""}],
        [{"role": "user", "parts": [{"text": "a"}]}],
    ),
    (
        [{"role": "user", "content": "a", "images": ["/9j/4A"]}],
        [{"role": "user", "parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/4A"}}]}],
    ),
    (
        [{"role": "user", "content": "", "images": ["data:image/gif;base64,R0lGOD"]}],
        [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/gif", "data": "R0lGOD"}}]}],
    ),
    (
        [{"role": "user", "content": [{"type": "image_url", "image_url": "https://p.test/a"}]}],
        [{"role": "user", "parts": [{"fileData": {"fileUri": "https://p.test/a"}}]}],
    ),
    (
        [{"role": "user", "content": [{"type": "image_url", "image_url": "https://p.test/a.png?x"}]}],
        [{"role": "user", "parts": [{"fileData": {"fileUri": "https://p.test/a.png?x", "mimeType": "image/png"}}]}],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "expected"), MESSAGES)
def test_messages_become_contents(messages: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert contents(*messages) == expected


def test_system_texts_come_together() -> None:
    """Gemini has one place for them, wherever they stood."""
    messages = [
        {"role": "system", "content": "A"},
        {"role": "user", "content": "hi"},
        {"role": "developer", "content": [{"type": "text", "text": "B"}]},
    ]
    assert sent(messages=messages)["systemInstruction"] == {"parts": [{"text": "A"}, {"text": "B"}]}


IMAGE = {"type": "image_url", "image_url": {"url": "http://pics.test/cat.png"}}
UNSAYABLE: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "^n: "),
    ({"logprobs": True}, "^logprobs: "),
    ({"stop": list("abcdef")}, "^stop: "),
    ({"reasoning_effort": "huge"}, "^reasoning_effort: 'huge'"),
    ({"think": "huge"}, "^think: 'huge'"),
    ({"response_format": {"type": "grammar"}}, "^response_format: 'grammar'"),
    ({"generationConfig": "fast"}, "^generationConfig: "),
    ({"tools": [{"type": "web_search"}]}, "^tools.0: "),
    ({"tools": [{"function": {"name": "a", "parameters": "x"}}]}, "^tools.0: .*'a'"),
    ({"tools": [{"function": {}}]}, "^tools.0: .*no name"),
    ({"tools": [{"function": {"name": "a"}}], "tool_choice": "sometimes"}, "^tool_choice: "),
    (
        {
            "tools": [{"function": {"name": "a"}}],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{}]}},
        },
        "^tool_choice: allowed_tools",
    ),
    ({"tools": [{"function": {"name": "a"}}], "parallel_tool_calls": False}, "^parallel_tool_calls: "),
    ({"messages": [{"role": "user", "content": [IMAGE]}]}, "http://pics.test/cat.png"),
    ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "^messages.0.content.0: .*'audio'"),
    ({"messages": [{"role": "user", "content": ""}]}, "^messages: there is no text"),
    ({"messages": [{"role": "system", "content": [IMAGE]}]}, "^messages.0: .*no images"),
    ({"messages": [{"role": "user", "images": ["AAAA"]}]}, "^messages.0.images.0: .*media type"),
    ({"messages": [{"role": "user", "images": 5}]}, "^messages.0.images: "),
    ({"messages": [{"role": "assistant", "tool_calls": [call("a", arguments="{x")]}]}, "arguments of 'add'"),
    ({"messages": [{"role": "assistant", "tool_calls": [call("a", arguments="[1]")]}]}, "arguments of 'add'"),
    ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "5"}]}, "^messages.0: .*tool"),
    ({"messages": [{"role": "tool", "content": "5"}]}, "^messages.0: .*tool_call_id"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "^messages.0.tool_calls: .*no function"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "a"}}]}]}, "'a' has no id"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "text"), UNSAYABLE)
def test_unsayable_request_is_refused(fields: dict[str, Any], text: str) -> None:
    """What Gemini has no words for is refused before anything is sent, and named."""
    with pytest.raises(CandidateUnfit, match=text):
        sent(**fields)


def test_json_beside_tools_needs_gemini_3() -> None:
    """Older models answer 400 to both together, which no other candidate should suffer for."""
    fields: dict[str, Any] = {"tools": [{"function": {"name": "a"}}], "format": "json"}
    assert config(**fields) == {"responseMimeType": "application/json"}
    with pytest.raises(CandidateUnfit, match="response_format"):
        sent("gemini-2.5-pro", **fields)


def answer(*parts: dict[str, Any], finish: object = "STOP") -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": finish}]}


def test_call_without_an_id_gets_one() -> None:
    """Models before 3 give none; two calls get different ones."""
    part = {"functionCall": {"name": "add"}}
    calls = completion(answer(part, part), MODEL).response["choices"][0]["message"]["tool_calls"]
    assert calls[0]["id"] != calls[1]["id"]
    assert calls[0]["function"] == {"name": "add", "arguments": "{}"}


def test_made_images_are_handed_on() -> None:
    """In the form that goes back to Gemini in the next turn, too."""
    data = {"mimeType": "image/png", "data": "iVBORw0KGgo="}
    message = completion(answer({"inlineData": data}), MODEL).response["choices"][0]["message"]
    assert message["images"][0]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="
    assert contents({"role": "user", "content": "a"}, message)[1]["parts"] == [{"inlineData": data}]


def test_gateways_cost_is_read() -> None:
    """OpenCode states it inside the usage, or beside it as text."""
    inside = {**answer({"text": "a"}), "usageMetadata": {"cost": 0.5}}
    beside = {**answer({"text": "a"}), "cost": "0.25"}
    assert [completion(data, MODEL).usage["cost_usd"] for data in (inside, beside)] == [0.5, 0.25]


FINISHES = [
    ("SAFETY", "content_filter"),
    ("RECITATION", "content_filter"),
    ("SOMETHING_NEW", "something_new"),
    ("MAX_TOKENS", "length"),
]


@pytest.mark.parametrize(("stated", "expected"), FINISHES)
def test_text_that_is_left_is_an_answer(stated: str, expected: str) -> None:
    """What came before a filter cut it off was paid for; words not known yet are kept."""
    assert completion(answer({"text": "a"}, finish=stated), MODEL).finish_reason == expected


NO_ANSWERS: list[tuple[dict[str, Any], type[UpstreamError], str]] = [
    ({}, UpstreamUnavailable, "no_choices"),
    ({"candidates": []}, UpstreamUnavailable, "no_choices"),
    ({"candidates": {"a": 1}}, UpstreamUnavailable, "malformed"),
    ({"candidates": ["a"]}, UpstreamUnavailable, "malformed"),
    ({"promptFeedback": {"blockReason": "OTHER"}}, CandidateUnfit, "content_refused"),
    (answer({"text": "a"}, finish=None), UpstreamUnavailable, "truncated"),
    (answer({"text": "a"}, finish=7), UpstreamUnavailable, "truncated"),
    (answer({"text": "a"}, finish="OTHER"), UpstreamUnavailable, "interrupted"),
    (answer(finish="TOO_MANY_TOOL_CALLS"), UpstreamUnavailable, "interrupted"),
    (answer(finish="MISSING_THOUGHT_SIGNATURE"), CandidateUnfit, "history_refused"),
    (answer(finish="BLOCKLIST"), CandidateUnfit, "content_refused"),
    (answer(finish="SOMETHING_NEW"), CandidateUnfit, "content_refused"),
    (answer({"text": 5}), UpstreamUnavailable, "malformed"),
    (answer({"functionCall": {}}), UpstreamUnavailable, "malformed"),
    (answer({"inlineData": "x"}), UpstreamUnavailable, "malformed"),
    ({"candidates": [{"content": "a", "finishReason": "STOP"}]}, UpstreamUnavailable, "malformed"),
]


@pytest.mark.parametrize(("data", "kind", "code"), NO_ANSWERS)
def test_200_without_an_answer_fails(data: dict[str, Any], kind: type[UpstreamError], code: str) -> None:
    with pytest.raises(kind) as caught:
        completion(data, MODEL)
    assert (caught.value.code, caught.value.maybe_billed) == (code, True)


@unhurried
@given(any_request(), st.sampled_from([MODEL, "gemini-2.5-pro", "gemini-2.0-flash"]))
def test_any_request_is_said_or_refused(request: ChatRequest, model: str) -> None:
    """Nothing but our own error leaves the translation, and a budget never stands beside a level."""
    try:
        body = request_body(request, model, {})
    except CandidateUnfit:
        return
    assert body["contents"]
    assert all(content["parts"] for content in body["contents"])
    orjson.dumps(body)


PARTS = st.lists(any_answer(text=st.text(), thought=st.booleans(), functionCall=JSON, inlineData=JSON))
ANSWERS = any_answer(
    candidates=st.lists(
        any_answer(content=any_answer(parts=PARTS), finishReason=st.sampled_from(["STOP", "SAFETY"])),
        max_size=2,
    ),
    promptFeedback=JSON,
    usageMetadata=any_answer(promptTokenCount=st.integers(), cost=JSON),
)


@unhurried
@given(ANSWERS)
def test_any_answer_is_read_or_refused(data: dict[str, Any]) -> None:
    """Foreign JSON never breaks the reader."""
    try:
        completion(data, MODEL)
    except UpstreamError as error:
        assert error.maybe_billed
