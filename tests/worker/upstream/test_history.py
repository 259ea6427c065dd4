"""Old conversations in today's words, on every wire."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from tests.worker.upstream.loopback import GOOD, chat_request
from worker.upstream.history import modernised

Ask = Any


def call(name: str, call_id: str | None = None) -> dict[str, Any]:
    bare = {"type": "function", "function": {"name": name, "arguments": "{}"}}
    return {"id": call_id, **bare} if call_id else bare


def assistant(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def result(call_id: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "content": "5", **({"tool_call_id": call_id} if call_id else {}), **fields}


LONG = "call_" + "x" * 200

CONVERSATIONS = [
    ("model is assistant", [{"role": "model", "content": "a"}], [{"role": "assistant", "content": "a"}]),
    (
        "calls get ids",
        [assistant(call("f"), call("g"))],
        [assistant(call("f", "call_0_0"), call("g", "call_0_1"))],
    ),
    (
        "results follow their calls",
        [assistant(call("f"), call("g")), result(name="g"), result()],
        [
            assistant(call("f", "call_0_0"), call("g", "call_0_1")),
            result("call_0_1", name="g"),
            result("call_0_0"),
        ],
    ),
    (
        "function is tool",
        [
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "5"},
        ],
        [assistant(call("f", "call_0_0")), result("call_0_0", name="f")],
    ),
    ("result without a call", [result(name="f")], [result("call_0", name="f")]),
    (
        "stated ids stay",
        [assistant(call("f", LONG), call("g")), result(LONG), result()],
        [assistant(call("f", LONG), call("g", "call_0_1")), result(LONG), result("call_0_1")],
    ),
    (
        "plain turns stay",
        [{"role": "user", "content": "hi"}, {"role": "model", "content": "a"}],
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}],
    ),
]


@pytest.mark.parametrize(
    ("old", "new"), [case[1:] for case in CONVERSATIONS], ids=[c[0] for c in CONVERSATIONS]
)
def test_old_words_are_translated(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    """Roles as OpenAI has them now, and an id on every call and result."""
    assert modernised(chat_request(messages=old)).messages == new


def test_modern_request_is_returned_as_it_is() -> None:
    """Nothing is copied; ids are kept at any length."""
    request = chat_request(
        messages=[{"role": "user", "content": "hi"}, assistant(call("f", LONG)), result(LONG)]
    )
    assert modernised(request) is request


@pytest.mark.parametrize("wire", ["openai", "ollama"])
async def test_every_wire_gets_the_translation(ask: Ask, wire: str) -> None:
    """It comes before the wire, and long ids go through whole."""
    bodies: list[dict[str, Any]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(orjson.loads(request.content))
        return httpx.Response(200, json={**GOOD, "message": {"content": "x"}, "done": True})

    turns = [{"role": "model", "content": "a"}, assistant(call("f", LONG)), result(LONG)]
    await ask(handler, chat_request(messages=turns), wire=wire)
    messages = bodies[0]["messages"]
    assert [message["role"] for message in messages] == ["assistant", "assistant", "tool"]
    assert (messages[1]["tool_calls"][0]["id"], messages[2]["tool_call_id"]) == (LONG, LONG)
