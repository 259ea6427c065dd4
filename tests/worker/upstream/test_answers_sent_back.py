"""Our own answers, sent back as history to other hosts: what each wire and quirk makes of an assistant's turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import CandidateUnfit
from shared.settings import Wire as WireName
from tests.worker.upstream.loopback import chat_request
from worker.upstream.quirks import QUIRK_TABLE
from worker.upstream.wires import WIRES

PNG = "iVBORw0KGgo="
FUNCTION = {"name": "add", "arguments": '{"a":1}'}
CALL = {"id": "c1", "type": "function", "function": FUNCTION}
MARKED = {**CALL, "extra_content": {"google": {"thought_signature": "s1"}}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s2"}
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}

SAID = {
    "role": "assistant",
    "content": "Sum.",
    "refusal": None,
    "annotations": [],
    "reasoning": "hm",
    "reasoning_content": "hm",
    "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
    "thinking_blocks": [THOUGHT],
    "tool_calls": [MARKED],
}
"""All that an answer of any wire may carry, but for an image."""

ENDED = {name: SAID[name] for name in ("role", "content", "refusal", "annotations")}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "2"}
HI = {"role": "user", "content": "hi"}


def body_of(wire: WireName, said: dict[str, Any], *quirks: str) -> dict[str, Any]:
    """The body of a request whose history has this turn."""
    request = chat_request(messages=[HI, said, RESULT] if said.get("tool_calls") else [HI, said, HI])
    body = WIRES[wire].request_body(request, "claude-opus-4-6" if wire == "anthropic" else "m", {})
    for quirk in quirks:
        change = QUIRK_TABLE[quirk].body
        assert change is not None
        change(body, request)
    return body


def second(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda body: body[name][1]


SENT: list[tuple[WireName, tuple[str, ...], Callable[[dict[str, Any]], Any], Any]] = [
    # chatq's own vocabulary: some host knows each of these fields, so they stay unless a quirk says otherwise.
    ("openai", (), second("messages"), SAID),
    ("openai", ("reasoning_stripped",), second("messages"), {**ENDED, "tool_calls": [CALL]}),
    (
        "openai",
        ("reasoning_sent_back",),
        second("messages"),
        {**ENDED, "tool_calls": [CALL], "reasoning_content": "hm"},
    ),
    (
        "ollama",
        (),
        second("messages"),
        {
            "role": "assistant",
            "content": "Sum.",
            "thinking": "hm",
            "tool_calls": [{"id": "c1", "function": {"name": "add", "arguments": {"a": 1}}}],
        },
    ),
    (
        "gemini",
        (),
        second("contents"),
        {
            "role": "model",
            "parts": [
                {"text": "Sum."},
                {
                    "functionCall": {"id": "c1", "name": "add", "args": {"a": 1}},
                    "thoughtSignature": "s1",
                },
            ],
        },
    ),
    (
        "anthropic",
        (),
        second("messages"),
        {
            "role": "assistant",
            "content": [
                THOUGHT,
                {"type": "text", "text": "Sum."},
                {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
            ],
        },
    ),
    (
        "responses",
        (),
        lambda body: body["input"][1:3],
        [
            {"role": "assistant", "content": "Sum."},
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a":1}'},
        ],
    ),
]


@pytest.mark.parametrize(("wire", "quirks", "part", "sent"), SENT)
def test_turn_is_said_without_what_is_foreign(
    wire: WireName, quirks: tuple[str, ...], part: Callable[[dict[str, Any]], Any], sent: Any
) -> None:
    """Field by field on wires of their own; nothing that a host does not know goes along."""
    assert part(body_of(wire, SAID, *quirks)) == sent


@pytest.mark.parametrize("quirk", ["reasoning_stripped", "reasoning_sent_back"])
def test_turn_without_calls_loses_foreign_traces_too(quirk: str) -> None:
    said = {name: value for name, value in SAID.items() if name not in ("tool_calls", "reasoning_content")}
    assert body_of("openai", said, quirk)["messages"][1] == ENDED


IMAGES: list[tuple[WireName, Any]] = [
    ("openai", [PICTURE]),
    ("ollama", [PNG]),
    ("ollama_generate", [PNG]),
    ("gemini", [{"inlineData": {"mimeType": "image/png", "data": PNG}}]),
    (
        "anthropic",
        [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}],
    ),
]


@pytest.mark.parametrize(("wire", "shown"), IMAGES)
def test_image_that_a_model_made_is_shown_again(wire: WireName, shown: Any) -> None:
    """In the wire's own place for images."""
    body = body_of(wire, {"role": "assistant", "content": None, "images": [PICTURE]})
    found = {
        "openai": lambda: body["messages"][1]["images"],
        "ollama": lambda: body["messages"][1]["images"],
        "ollama_generate": lambda: body["images"],
        "gemini": lambda: body["contents"][1]["parts"],
        "anthropic": lambda: body["messages"][1]["content"],
    }[wire]()
    assert found == shown


def test_image_that_cannot_be_shown_again_is_for_another_candidate() -> None:
    """The Responses API takes images from users only; left out, the talk would be of something unseen."""
    with pytest.raises(CandidateUnfit, match=r"messages\.1.*images"):
        body_of("responses", {"role": "assistant", "content": "", "images": [PICTURE]})
