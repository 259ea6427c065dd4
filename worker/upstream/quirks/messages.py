"""Quirks of messages: traces of thinking, text beside tool calls, texts in parts, prompts that must be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.chat import ChatRequest
from worker.upstream.quirks.quirk import ChangeBody

Message = Mapping[str, Any]

_TRACES = ("reasoning_content", "reasoning", "thinking")
"""Where callers keep a trace, after the provider that made it."""

_FOREIGN = ("reasoning", "thinking", "reasoning_details", "thinking_blocks")
"""Fields of a message in which other vendors' answers, chatq's translations among them, keep their thoughts."""

_MARKS = "extra_content"
"""Field of a call with the signature of the thoughts that led to it: Gemini's, useless to anybody else."""

_SYSTEM_ROLES = ("system", "developer")

ENGLISH = "You are a helpful assistant. Answer in English unless another language is asked for."
JSON = "Answer with a JSON object."


def _each(change: Any) -> ChangeBody:
    """A change of single messages: `change` returns the message it was given, or another in its place."""

    def apply(body: dict[str, Any], request: ChatRequest) -> None:
        messages = body["messages"]
        changed = [change(message) for message in messages]
        if any(new is not old for new, old in zip(changed, messages, strict=True)):
            body["messages"] = changed

    return apply


def _with_trace(message: Message) -> Message:
    own = _without(message, _FOREIGN)
    if not message.get("tool_calls") or isinstance(message.get("reasoning_content"), str):
        return own
    trace = next((message[name] for name in _TRACES if isinstance(message.get(name), str)), "")
    return {**own, "reasoning_content": trace}


def _without_trace(message: Message) -> Message:
    return _without(message, ("reasoning_content", *_FOREIGN))


def _without(message: Message, names: tuple[str, ...]) -> Message:
    """The message without these fields and without the marks of its calls; the same object if it has none."""
    calls = message.get("tool_calls") or ()
    is_marked = any(_MARKS in call for call in calls)
    if not is_marked and message.keys().isdisjoint(names):
        return message
    left = {name: value for name, value in message.items() if name not in names}
    if is_marked:
        left["tool_calls"] = [
            {name: value for name, value in call.items() if name != _MARKS} for call in calls
        ]
    return left


def _with_text(message: Message) -> Message:
    if message.get("tool_calls") and message.get("content") is None:
        return {**message, "content": ""}
    return message


def _flat(message: Message) -> Message:
    parts = message.get("content")
    if not isinstance(parts, list):
        return message
    kept = [part for part in parts if part["type"] != "text" or part.get("text")]
    if all(part["type"] == "text" for part in kept):
        return {**message, "content": "\n".join(str(part["text"]) for part in kept)}
    return message if len(kept) == len(parts) else {**message, "content": kept}


reasoning_sent_back = _each(_with_trace)
"""Tool calls without the trace that led to them are refused; an empty one is taken (§6, §9, §11). Traces in other
vendors' fields are left out."""

reasoning_stripped = _each(_without_trace)
text_beside_tool_calls = _each(_with_text)
flat_text = _each(_flat)
"""Text-only models want plain text, and a part with empty text is refused (§5, §6)."""


def english_system_prompt(request: ChatRequest) -> ChatRequest:
    """Without one, answers to English prompts were seen in Chinese."""
    if any(message["role"] in _SYSTEM_ROLES for message in request.messages):
        return request
    return _under(ENGLISH, request)


def json_word(request: ChatRequest) -> ChatRequest:
    """A JSON object is refused to prompts that do not speak of JSON (§7, §9)."""
    wanted = request.response_format
    is_wanted = wanted.get("type") == "json_object" if wanted is not None else request.format == "json"
    if not is_wanted or any(_speaks_of_json(message.get("content")) for message in request.messages):
        return request
    return _under(JSON, request)


def _speaks_of_json(content: Any) -> bool:
    if isinstance(content, str):
        return "json" in content.lower()
    return any("json" in str(part.get("text") or "").lower() for part in content or ())


def _under(prompt: str, request: ChatRequest) -> ChatRequest:
    """The request with a system prompt, after those that it has: the caller's own come first."""
    messages = request.messages
    is_system = [message["role"] in _SYSTEM_ROLES for message in messages]
    end = is_system.index(False) if False in is_system else len(messages)
    added = {"role": "system", "content": prompt}
    return request.model_copy(update={"messages": [*messages[:end], added, *messages[end:]]})
