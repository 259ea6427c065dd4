"""The `ollama` wire: OpenAI's words into Ollama's and back."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from shared.errors import CandidateUnfit, RequestRefused, UpstreamError, UpstreamUnavailable
from tests.worker.upstream.loopback import chat_request
from worker.upstream.ollama import completion, request_body

Ask = Any

DONE = {
    "model": "qwen3.5:latest",
    "message": {"role": "assistant", "content": "hello"},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 11,
    "eval_count": 3,
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
PNG = "iVBORw0KGgo="


def sent(**fields: object) -> dict[str, Any]:
    return request_body(chat_request(**fields), "qwen", {})


def sent_message(**message: object) -> dict[str, Any]:
    messages: list[dict[str, Any]] = sent(messages=[message])["messages"]
    return messages[0]


REQUESTS = [
    ({}, {}),
    ({"max_tokens": 5}, {"options": {"num_predict": 5}}),
    ({"max_completion_tokens": 6}, {"options": {"num_predict": 6}}),
    (
        {"temperature": 0, "top_p": 0.5, "seed": 3},
        {"options": {"temperature": 0.0, "top_p": 0.5, "seed": 3}},
    ),
    ({"stop": "x"}, {"options": {"stop": ["x"]}}),
    ({"stop": ["x", "y"]}, {"options": {"stop": ["x", "y"]}}),
    (
        {"frequency_penalty": 1, "presence_penalty": 2, "top_k": 3, "min_p": 0.1, "num_ctx": 8192},
        {"options": {"frequency_penalty": 1, "presence_penalty": 2, "top_k": 3, "min_p": 0.1, "num_ctx": 8192}},
    ),
    (
        {"temperature": 1, "options": {"num_gpu": 1, "temperature": 0.3}},
        {"options": {"temperature": 0.3, "num_gpu": 1}},
    ),
    ({"keep_alive": "10m"}, {"keep_alive": "10m"}),
    ({"keep_alive": 0}, {"keep_alive": 0}),
    ({"format": "json"}, {"format": "json"}),
    ({"format": SCHEMA}, {"format": SCHEMA}),
    ({"format": "text"}, {}),
    ({"response_format": {"type": "json_object"}}, {"format": "json"}),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}, {"format": SCHEMA}),
    ({"response_format": {"type": "text"}}, {}),
    ({"think": True}, {"think": True}),
    ({"think": "high"}, {"think": "high"}),
    ({"reasoning_effort": "medium"}, {"think": "medium"}),
    ({"reasoning_effort": "none"}, {"think": False}),
    ({"reasoning_effort": "xhigh"}, {"think": "max"}),
    ({"think": False, "reasoning_effort": "high"}, {"think": False}),
    ({"tools": [{"type": "function"}]}, {"tools": [{"type": "function"}]}),
    ({"tools": [{"type": "function"}], "tool_choice": "none"}, {}),
    ({"user": "u", "metadata": {"a": "b"}}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), REQUESTS)
def test_request_is_said_in_ollamas_words(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    """Every field of the chat schema has its place; thinking is off unless asked for."""
    messages = [{"role": "user", "content": "hi"}]
    base = {"model": "qwen", "messages": messages, "stream": False, "think": False}
    assert sent(**fields) == {**base, **expected}


def test_extra_body_lies_under_the_request() -> None:
    """The provider's options fill in, its `think` replaces the default, the request wins."""
    extra = {"think": True, "keep_alive": "1h", "options": {"num_ctx": 4096, "seed": 1}, "stream": True}
    body = request_body(chat_request(seed=2), "qwen", extra)
    assert body["options"] == {"num_ctx": 4096, "seed": 2}
    assert (body["think"], body["keep_alive"], body["stream"]) == (True, "1h", False)


MESSAGES = [
    ({"role": "developer", "content": "be"}, {"role": "system", "content": "be"}),
    ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
    ({"role": "user"}, {"role": "user", "content": ""}),
    (
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "a\nb"},
    ),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]},
        {"role": "user", "content": "", "images": [PNG]},
    ),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": f"data:;base64,{PNG}"}]},
        {"role": "user", "content": "", "images": [PNG]},
    ),
    ({"role": "user", "content": "a", "images": [PNG]}, {"role": "user", "content": "a", "images": [PNG]}),
    (
        {"role": "assistant", "images": [{"image_url": {"url": f"data:image/png;base64,{PNG}"}}]},
        {"role": "assistant", "content": "", "images": [PNG]},
    ),
    ({"role": "user", "images": [f"data:;base64,{PNG}"]}, {"role": "user", "content": "", "images": [PNG]}),
    ({"role": "user", "content": "a", "name": "Ann"}, {"role": "user", "content": "a"}),
    ({"role": "assistant", "content": "a", "thinking": {"x": 1}}, {"role": "assistant", "content": "a"}),
    ({"role": "tool", "content": "5", "name": ["add"]}, {"role": "tool", "content": "5"}),
    (
        {"role": "assistant", "content": "a", "reasoning_content": "hm"},
        {"role": "assistant", "content": "a", "thinking": "hm"},
    ),
    (
        {"role": "tool", "content": "5", "name": "add", "tool_call_id": "c1"},
        {"role": "tool", "content": "5", "tool_name": "add", "tool_call_id": "c1"},
    ),
    ({"role": "tool", "content": "5", "name": "add"}, {"role": "tool", "content": "5", "tool_name": "add"}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), MESSAGES)
def test_message_is_translated(message: dict[str, Any], expected: dict[str, Any]) -> None:
    """Ollama takes text, bare base64 images, and its own names of roles and fields."""
    assert sent_message(**message) == expected


def test_tool_history_is_translated() -> None:
    """Arguments become an object, and the tool's answer learns its tool's name from the call."""
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    body = sent(
        messages=[
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "5", "tool_call_id": "c1"},
        ]
    )
    called = {"id": "c1", "function": {"name": "add", "arguments": {"a": 1}}}
    assert body["messages"] == [
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "content": "5", "tool_name": "add", "tool_call_id": "c1"},
    ]


def parts(*content: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def calls(function: object) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "tool_calls": [{"function": function}]}]}


UNSAYABLE = [
    (parts({"type": "image_url", "image_url": {"url": "https://pics.test/cat.png"}}), "https://pics.test/cat.png"),
    (parts({"type": "image_url", "image_url": {}}), r"messages.0.content.0: image_url has no url"),
    (parts({"type": "image_url", "image_url": "data:image/svg+xml,<svg/>"}), "base64"),
    (parts({"type": "text", "text": ""}, {"type": "input_audio"}), r"messages.0.content.1: .*'input_audio'"),
    ({"messages": [{"role": "user", "images": 5}]}, r"messages.0.images: must be a list"),
    ({"messages": [{"role": "user", "images": [5]}]}, r"messages.0.images.0: an image must be base64 text"),
    ({"messages": [{"role": "user", "images": [{"url": "x"}]}]}, r"messages.0.images.0: image_url has no url"),
    (
        {"messages": [{"role": "user", "images": [{"image_url": "https://pics.test/a.png"}]}]},
        r"messages.0.images.0: .*pics.test",
    ),
    (calls({"name": "add", "arguments": "{broken"}), "arguments of 'add'"),
    (calls({"name": "add", "arguments": "[1]"}), "arguments of 'add'"),
    (calls({"arguments": "{}"}), "names no function"),
    (calls(None), "names no function"),
    ({"options": "fast"}, "options: must be an object"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "text"), UNSAYABLE)
def test_unsayable_content_is_refused(fields: dict[str, Any], text: str) -> None:
    """What Ollama has no words for is refused before anything is sent, and named."""
    with pytest.raises(CandidateUnfit, match=text) as caught:
        sent(**fields)
    assert caught.value.code == "unsupported_content"


def test_answer_becomes_a_chat_completion() -> None:
    """Content, model, counts and finish stand where OpenAI's clients look."""
    response, usage, finish_reason = completion(dict(DONE), "qwen")
    assert response["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "hello"},
        "finish_reason": "stop",
    }
    assert (response["object"], response["model"]) == ("chat.completion", "qwen3.5:latest")
    assert response["usage"] == {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    assert (usage["input_total"], usage["output_total"], usage["cost_usd"]) == (11, 3, None)
    assert finish_reason == "stop"


def test_tool_calls_become_json_text() -> None:
    """Arguments become text, calls get an id, and the finish says so."""
    wire_calls = [
        {"function": {"name": "add", "arguments": {"a": 1}}},
        {"id": "x", "function": {"name": "now"}},
    ]
    message = {"role": "assistant", "content": "", "tool_calls": wire_calls}
    response, _, finish_reason = completion({**DONE, "message": message}, "qwen")
    assert response["choices"][0]["message"]["tool_calls"] == [
        {"id": "call_0", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}},
        {"id": "x", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ]
    assert finish_reason == "tool_calls"


def test_thinking_is_kept_as_reasoning() -> None:
    """The trace that was asked for is handed on."""
    message = {"role": "assistant", "content": "a", "thinking": "hm"}
    response = completion({**DONE, "message": message}, "qwen").response
    assert response["choices"][0]["message"]["reasoning_content"] == "hm"


@pytest.mark.parametrize(
    ("reason", "finish"), [("stop", "stop"), ("length", "length"), ("", "stop"), (None, "stop")]
)
def test_done_reason_becomes_finish_reason(reason: str | None, finish: str) -> None:
    """Ollama's two reasons are OpenAI's; an empty one is a stop."""
    assert completion({**DONE, "done_reason": reason}, "qwen").finish_reason == finish


def test_omitted_counters_are_zero() -> None:
    """Ollama leaves out counters that are zero."""
    data = {name: value for name, value in DONE.items() if not name.endswith("count")}
    usage = completion(data, "qwen").usage
    assert (usage["input_total"], usage["output_total"]) == (0, 0)


NO_ANSWERS = [
    ({**DONE, "done": False}, UpstreamUnavailable, "truncated"),
    ({"message": {"content": "hel"}}, UpstreamUnavailable, "truncated"),
    ({"done": True}, UpstreamUnavailable, "malformed"),
    ({**DONE, "message": {"content": 5}}, UpstreamUnavailable, "malformed"),
    ({**DONE, "message": {"content": "", "tool_calls": [{}]}}, UpstreamUnavailable, "malformed"),
    ({**DONE, "message": {"content": "", "tool_calls": 5}}, UpstreamUnavailable, "malformed"),
    ({"error": "unexpected EOF"}, UpstreamUnavailable, "error_in_answer"),
    ({**DONE, "done_reason": "load"}, RequestRefused, "empty_prompt"),
]


@pytest.mark.parametrize(("body", "kind", "code"), NO_ANSWERS)
async def test_200_without_an_answer_fails(ask: Ask, body: Any, kind: type[UpstreamError], code: str) -> None:
    """An answer without its `done` mark, or without a message, is none."""
    with pytest.raises(kind) as caught:
        await ask(httpx.Response(200, json=body), wire="ollama")
    assert caught.value.code == code


async def test_call_goes_to_api_chat(ask: Ask) -> None:
    """The whole way: path, no Authorization without a key, an answer with its record."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=DONE)

    answer = await ask(handler, wire="ollama", key=None, base_url="http://ollama.test:11434")
    assert str(seen[0].url) == "http://ollama.test:11434/api/chat"
    assert "authorization" not in seen[0].headers
    assert orjson.loads(seen[0].content)["model"] == "m"
    assert answer.response["chatq"]["usage"]["output_total"] == 3


async def test_missing_model_keeps_its_404(ask: Ask) -> None:
    """Ollama's own words and status reach the caller."""
    with pytest.raises(CandidateUnfit, match='model "x" not found') as caught:
        await ask(httpx.Response(404, json={"error": 'model "x" not found'}), wire="ollama")
    assert (caught.value.status, caught.value.scope) == (404, "model")
