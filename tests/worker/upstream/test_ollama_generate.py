"""The `ollama_generate` wire: a conversation flattened to one prompt."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from shared.errors import CandidateUnfit, UpstreamUnavailable
from tests.worker.upstream.conftest import KEY
from tests.worker.upstream.loopback import chat_request
from worker.upstream.ollama_generate import completion, request_body

Ask = Any

DONE = {"model": "gpt-oss", "response": "hello", "done": True, "done_reason": "stop", "eval_count": 3}


def sent(*turns: tuple[str, Any], **fields: object) -> dict[str, Any]:
    messages = [{"role": role, "content": content} for role, content in turns or [("user", "hi")]]
    return request_body(chat_request(messages=messages, **fields), "gpt-oss", {})


FLATTENED = [
    ([("user", "hi")], "hi", None),
    ([("system", "be brief"), ("user", "hi")], "hi", "be brief"),
    ([("system", "a"), ("user", "hi"), ("developer", "b")], "hi", "a\n\nb"),
    (
        [("system", "s"), ("user", "hi"), ("assistant", "yes?"), ("user", "go")],
        "User: hi\n\nAssistant: yes?\n\nUser: go\n\nAssistant:",
        "s",
    ),
    ([("user", "a"), ("user", "b")], "User: a\n\nUser: b\n\nAssistant:", None),
    ([("user", "a"), ("assistant", "Sure, ")], "User: a\n\nAssistant: Sure, ", None),
    ([("system", "say hello")], "say hello", None),
]


@pytest.mark.parametrize(("turns", "prompt", "system"), FLATTENED)
def test_messages_become_prompt_and_system(turns: Any, prompt: str, system: str | None) -> None:
    """One question is the prompt itself; more are a transcript in which the assistant is next."""
    body = sent(*turns)
    assert (body["prompt"], body.get("system")) == (prompt, system)
    assert "messages" not in body


def test_images_of_all_turns_are_collected() -> None:
    """The endpoint has one place for images."""
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}]
    assert sent(("user", picture), ("user", picture))["images"] == ["QQ==", "QQ=="]


def test_fields_are_those_of_the_chat_endpoint() -> None:
    """Options, format, thinking and the stream switch are said as for /api/chat."""
    body = sent(max_tokens=5, format="json", keep_alive="1m")
    assert body == {
        "model": "gpt-oss", "prompt": "hi", "stream": False, "think": False,
        "options": {"num_predict": 5}, "format": "json", "keep_alive": "1m",
    }  # fmt: skip


TOOLS = [
    {"tools": [{"type": "function"}]},
    {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}, {"role": "user", "content": "x"}]},
    {"messages": [{"role": "tool", "content": "5"}]},
]


@pytest.mark.parametrize("fields", TOOLS)
def test_tools_are_refused_with_advice(fields: dict[str, Any]) -> None:
    """There are no tools here; the error says which wires have them."""
    with pytest.raises(CandidateUnfit, match="wire `ollama` or `openai`") as caught:
        request_body(chat_request(**fields), "m", {})
    assert caught.value.code == "unsupported"


def test_tools_not_to_be_used_do_not_matter() -> None:
    """`tool_choice: none` asks for an answer without tools, which this wire can give."""
    assert "tools" not in sent(tools=[{"type": "function"}], tool_choice="none")


async def test_call_goes_to_api_generate_with_key(ask: Ask) -> None:
    """The whole way: path, Bearer, answer as a ChatCompletion with thinking and counts."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={**DONE, "thinking": "hm"})

    answer = await ask(handler, wire="ollama_generate", base_url="https://ollama.test")
    assert str(seen[0].url) == "https://ollama.test/api/generate"
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert orjson.loads(seen[0].content)["prompt"] == "hi"
    message = answer.response["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "hello", "reasoning_content": "hm"}
    assert (answer.usage["input_total"], answer.usage["output_total"]) == (0, 3)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({**DONE, "done": False}, "truncated"),
        ({"done": True}, "malformed"),
        ({"response": "hel"}, "truncated"),
    ],
)
def test_unfinished_answer_is_none(data: dict[str, Any], code: str) -> None:
    """An answer without text or without its `done` mark is worth another attempt."""
    with pytest.raises(UpstreamUnavailable) as caught:
        completion(data, "m")
    assert caught.value.code == code
