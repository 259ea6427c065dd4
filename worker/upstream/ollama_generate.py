"""The `ollama_generate` wire: `POST {base}/api/generate`, one prompt and one system text (§1, §2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.chat import ChatRequest
from shared.errors import CandidateUnfit
from worker.upstream.ollama_fields import common_body, finished, said, text_and_images, usage_of
from worker.upstream.wire import Completion, Wire

_SYSTEM_ROLES = ("system", "developer")
_SPEAKERS = {"user": "User", "assistant": "Assistant"}


def request_body(request: ChatRequest, model: str, extra_body: Mapping[str, Any]) -> dict[str, Any]:
    """The request with its messages flattened.

    Raises:
        CandidateUnfit: Tools, or content that Ollama cannot take.
    """
    _refuse_tools(request)
    body = common_body(request, model, extra_body)
    system: list[str] = []
    turns: list[tuple[str, str]] = []
    images: list[str] = []
    for position, message in enumerate(request.messages):
        text, shown = text_and_images(message, f"messages.{position}")
        images += shown
        if message["role"] in _SYSTEM_ROLES:
            system.append(text)
        else:
            turns.append((message["role"], text))
    if not turns:  # an instruction alone is the prompt: without one, Ollama would only load the model
        turns, system = [("user", "\n\n".join(system))], []
    body["prompt"] = _prompt(turns)
    if system:
        body["system"] = "\n\n".join(system)
    if images:
        body["images"] = images
    return body


def _prompt(turns: list[tuple[str, str]]) -> str:
    """A single user message as it is; a conversation as a transcript in which the assistant is next."""
    if len(turns) == 1 and turns[0][0] == "user":
        return turns[0][1]
    lines = [f"{_SPEAKERS[role]}: {text}" for role, text in turns]
    if turns[-1][0] != "assistant":  # else it goes on with its own last words
        lines.append("Assistant:")
    return "\n\n".join(lines)


def _refuse_tools(request: ChatRequest) -> None:
    uses_tools = bool(request.tools) and request.tool_choice != "none"
    speaks_of_tools = any(
        message["role"] == "tool" or message.get("tool_calls") for message in request.messages
    )
    if uses_tools or speaks_of_tools:
        raise CandidateUnfit(
            "tools: /api/generate has none; send this to a provider with wire `ollama` or `openai`",
            code="unsupported",
        )


def completion(data: dict[str, Any], model: str) -> Completion:
    """Translate the answer.

    Raises:
        UpstreamError: The answer is not finished, or is none.
    """
    return finished(data, model, said(data.get("response"), data.get("thinking")))


OLLAMA_GENERATE = Wire(path="/api/generate", request_body=request_body, completion=completion, usage=usage_of)
