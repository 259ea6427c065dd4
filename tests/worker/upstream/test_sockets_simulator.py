"""Every wire against the simulator: what comes as a stream is what comes whole."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.errors import UpstreamUnavailable
from simulator import Simulator
from tests.worker.upstream.conftest import Caller
from tests.worker.upstream.loopback import chat_request
from worker.upstream import Answer

BASES = {
    "openai": ("/v1", "gpt-5.4"),
    "responses": ("/v1", "gpt-5.6"),
    "anthropic": ("/v1", "claude-sonnet-4-5"),
    "gemini": ("/v1beta", "gemini-3-flash"),
    "ollama": ("", "qwen3.5"),
    "ollama_generate": ("", "qwen3.5"),
}
"""By wire: its base path, and a model."""

TOOL = {
    "type": "function",
    "function": {
        "name": "fs.read",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}
REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {"max_tokens": 100},
    "tools": {"tools": [TOOL], "tool_choice": "required", "max_tokens": 100},
    "thinking": {"think": "high", "max_tokens": 4096},
}


def said(answer: Answer) -> tuple[str, str | None, dict[str, Any]]:
    """Message, finish and usage; ids of calls are made anew each time."""
    message = re.sub(r"'id': '\w+'", "'id'", str(answer.response["choices"][0]["message"]))
    return message, answer.finish_reason, dict(answer.usage)


CASES = [(wire, name) for wire in BASES for name in REQUESTS if (wire, name) != ("ollama_generate", "tools")]
"""All but what one wire cannot say."""


@pytest.mark.parametrize(("wire", "request_name"), CASES)
async def test_stream_and_whole_answer_agree(
    caller: Caller, simulator: Simulator, wire: str, request_name: str
) -> None:
    """Text, calls under the caller's own names, thoughts, finish and usage."""
    base, model = BASES[wire]
    answers = []
    for stream in (False, True):
        fields = {"wire": wire, "stream": stream, "quirks": ("safe_function_names",)}
        upstream = caller.open(simulator.url + base, **fields)  # type: ignore[arg-type]
        request = chat_request(**REQUESTS[request_name])
        answers.append(await upstream.call(request, model, headers={}, timeout_s=5))
    assert said(answers[0]) == said(answers[1])
    assert ("fs.read" in said(answers[1])[0]) == (request_name == "tools")


@pytest.mark.parametrize("wire", BASES)
async def test_stall_is_seen_on_every_wire(caller: Caller, simulator: Simulator, wire: str) -> None:
    """Long before the call's time is up."""
    fields = {"wire": wire, "stream": True, "stall_timeout_s": 0.1}
    upstream = caller.open(simulator.url + BASES[wire][0], **fields)  # type: ignore[arg-type]
    with pytest.raises(UpstreamUnavailable) as caught:
        await upstream.call(chat_request(max_tokens=50), "sim-fault-stall", headers={}, timeout_s=30)
    assert caught.value.code == "stalled"
