"""Answers of OpenAI's Responses API as a ChatCompletion (docs/provider-wire.md §7, §14)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

from shared.usage import Usage
from worker.error_text import as_text, clean_text
from worker.upstream.answers import content_refused, malformed, tokens, translated
from worker.upstream.stated_cost import stated_usd
from worker.upstream.wire import Completion

_BROKEN = {"failed": "error_in_answer", "cancelled": "interrupted"}
"""States of an answer that will not come, with the errors' codes; others are still on their way."""

_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""Why an answer stops short, in OpenAI chat's words; other reasons are kept."""


class _Said(NamedTuple):
    """What the output items hold."""

    message: dict[str, Any]
    is_refusal: bool


def completion(data: dict[str, Any], model: str) -> Completion:
    """Translate an answer.

    Raises:
        CandidateUnfit: The model refused, or the filter let nothing through.
        UpstreamUnavailable: The answer is broken off, or is none.
    """
    reason = _stopped_short(data)
    message, is_refusal = _said(data)
    is_empty = not (message["content"] or "tool_calls" in message)
    if is_empty and (is_refusal or reason == "content_filter"):
        what = "the model refused" if is_refusal else "the provider's content filter let nothing through"
        raise content_refused(what)
    finish_reason = reason or ("tool_calls" if "tool_calls" in message else "stop")
    return translated(
        message,
        finish_reason,
        usage_of(data),
        id=data.get("id"),
        model=data.get("model") or model,
        created=tokens(data.get("created_at")),
    )


def _stopped_short(data: dict[str, Any]) -> str | None:
    """Why the answer is not complete, in chat's words; None when it is."""
    status = data.get("status")
    if status == "completed":
        return None
    if status != "incomplete":
        word = clean_text(as_text(status))[:60]
        code = _BROKEN.get(word, "truncated")
        raise malformed(f"the model did not finish its answer ({word})", code=code)
    details = data.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return _INCOMPLETE.get(reason, reason) if isinstance(reason, str) and reason else "length"


def _said(data: dict[str, Any]) -> _Said:
    items = _objects(data.get("output"), "output")
    calls = [_call(item) for item in items if item.get("type") == "function_call"]
    parts = list(_parts(items))
    said = "".join(_text(part, "text") for part in parts if part.get("type") == "output_text")
    thought = "\n\n".join(_thoughts(items))
    message: dict[str, Any] = {"role": "assistant", "content": said or (None if calls else "")}
    if thought:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = calls
    return _Said(message, any(part.get("type") == "refusal" for part in parts))


def _parts(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in items:
        if item.get("type") == "message":
            yield from _objects(item.get("content"), "content")


def _thoughts(items: list[dict[str, Any]]) -> Iterator[str]:
    """Summaries of the reasoning, and its text where an open model shows it."""
    for item in items:
        if item.get("type") == "reasoning":
            for part in (
                *_objects(item.get("summary"), "summary"),
                *_objects(item.get("content"), "content"),
            ):
                yield _text(part, "text")


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if value is None and name != "output":
        return []
    if not isinstance(value, list) or not all(isinstance(member, dict) for member in value):
        raise malformed(f"the answer's {name} is not a list of objects")
    return value


def _text(part: dict[str, Any], name: str) -> str:
    text = part.get(name)
    if not isinstance(text, str):
        raise malformed("the answer has text that is none")
    return text


def _call(item: dict[str, Any]) -> dict[str, Any]:
    name, arguments = item.get("name"), item.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise malformed("a function call of the answer names no function, or has no arguments")
    return {
        "id": str(item.get("call_id") or f"call_{uuid.uuid4().hex}"),
        "type": "function",
        "function": {"name": name, "arguments": arguments or "{}"},
    }


def usage_of(data: dict[str, Any]) -> Usage:
    """What an answer says it took (docs/provider-wire.md §14); None for what it does not say."""
    stated = data.get("usage")
    counts = stated if isinstance(stated, dict) else {}
    read = counts.get("input_tokens_details")
    written = counts.get("output_tokens_details")
    read = read if isinstance(read, dict) else {}
    written = written if isinstance(written, dict) else {}
    return {
        "input_total": tokens(counts.get("input_tokens")),
        "input_cached": tokens(read.get("cached_tokens")),
        "input_cache_write": tokens(read.get("cache_write_tokens")),
        "output_total": tokens(counts.get("output_tokens")),
        "reasoning": tokens(written.get("reasoning_tokens")),
        "cost_usd": stated_usd(counts.get("cost"), data.get("cost")),  # OpenCode alone
    }
