from __future__ import annotations

from typing import Any

import httpx
import pytest

from simulator import request_digest, text_digest
from tests.simulator.calls import WIRES, answer_text, chat
from tests.simulator.conftest import StartSimulator


@pytest.mark.parametrize("wire", WIRES)
async def test_answer_carries_digest_of_prompt(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """Every wire echoes the digest that a test computes from the texts alone."""
    simulator = await start()
    response = await chat(client, simulator.url, wire, user="Größe?", system="Be brief.")
    echo, digest, *_ = answer_text(wire, response.json()).split()
    assert (echo, digest) == ("echo", text_digest("m", "Be brief.", "Größe?"))


CALL = {"name": "f", "arguments": "{}"}
TOOL_TURNS: dict[str, dict[str, Any]] = {
    "openai": {
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": CALL}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "sunny"},
        ]
    },
    "ollama": {
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
            },
            {"role": "tool", "tool_name": "f", "content": "sunny"},
        ]
    },
    "responses": {
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "c", **CALL},
            {"type": "function_call_output", "call_id": "c", "output": "sunny"},
        ]
    },
    "anthropic": {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "sunny"}]},
        ]
    },
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "sunny"}}}]},
        ]
    },
}


@pytest.mark.parametrize("wire", sorted(TOOL_TURNS))
async def test_tool_conversation_has_one_digest(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """Question, call and result, however a wire writes them."""
    response = await chat(client, (await start()).url, wire, **TOOL_TURNS[wire])
    digest = text_digest("m", "", "hi\n\n\n\nsunny")
    assert answer_text(wire, response.json()).startswith(f"echo {digest}")


def test_bare_prompt_equals_single_user_message() -> None:
    """A prompt is a conversation of one user message."""
    assert request_digest("m", "hi") == request_digest("m", [{"role": "user", "content": "hi"}])


def test_text_parts_equal_joined_string() -> None:
    """Text parts count, other parts do not."""
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "b"},
    ]
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "s"},
        {"role": "user", "content": parts},
    ]
    assert request_digest("m", messages) == text_digest("m", "s", "a\nb")


def test_turns_join_by_blank_line() -> None:
    """A conversation's turns are one text, and a message without text is an empty one."""
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "b"},
    ]
    assert request_digest("m", messages) == text_digest("m", "", "a\n\n\n\nb")


def test_digest_separates_model_system_and_prompt() -> None:
    """Each of the three inputs counts, and none runs into its neighbour."""
    digests = {
        text_digest(*texts) for texts in (("m", "a", "b"), ("ma", "", "b"), ("m", "", "ab"), ("m", "ab", ""))
    }
    assert len(digests) == 4
    assert all(len(digest) == 16 for digest in digests)
