"""Anthropic's answers as a ChatCompletion (docs/provider-wire.md §13, §14)."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from shared.usage import Usage
from worker.error_text import as_text, clean_text
from worker.upstream.answers import content_refused, malformed, tokens, translated
from worker.upstream.anthropic_messages import THOUGHTS
from worker.upstream.stated_cost import stated_usd
from worker.upstream.wire import Completion

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
"""Anthropic's word to OpenAI's; others, as `pause_turn`, are kept."""


def completion(data: dict[str, Any], model: str) -> Completion:
    """Translate an answer.

    Raises:
        CandidateUnfit: The model refused; what it had said until then is not to be used.
        UpstreamUnavailable: The answer is broken off, or is none.
    """
    finish_reason = _finish_reason(data)
    message = _message(data)
    return translated(
        message, finish_reason, usage_of(data), id=data.get("id"), model=data.get("model") or model
    )


def _finish_reason(data: dict[str, Any]) -> str:
    stated = data.get("stop_reason")
    if stated == "refusal":
        details = data.get("stop_details")
        category = details.get("category") if isinstance(details, dict) else None
        words = f" ({clean_text(as_text(category))[:60]})" if category else ""
        raise content_refused(f"the model refused{words}")
    if not isinstance(stated, str) or not stated:
        raise malformed("the answer ended before it was done", code="truncated")
    return _FINISH_REASONS.get(stated, stated)


def _message(data: dict[str, Any]) -> dict[str, Any]:
    blocks = data.get("content")
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise malformed("the answer's content is not a list of blocks")
    calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
    said = "".join(_text(block, "text") for block in blocks if block.get("type") == "text")
    thought = "".join(_text(block, "thinking") for block in blocks if block.get("type") == "thinking")
    message: dict[str, Any] = {"role": "assistant", "content": said or (None if calls else "")}
    if thought:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = calls
    # Whole and signed: with thinking on, they have to go back before the calls they led to.
    kept = [block for block in blocks if block.get("type") in THOUGHTS]
    if kept:
        message["thinking_blocks"] = kept
    return message


def _text(block: dict[str, Any], name: str) -> str:
    text = block.get(name)
    if not isinstance(text, str):
        raise malformed(f"a {name} block of the answer has no text")
    return text


def _call(block: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(block.get("name"), str):
        raise malformed("a tool call of the answer names no tool")
    return {
        "id": str(block.get("id") or f"call_{uuid.uuid4().hex}"),
        "type": "function",
        "function": {"name": block["name"], "arguments": orjson.dumps(block.get("input") or {}).decode()},
    }


def usage_of(data: dict[str, Any]) -> Usage:
    """What an answer says it took (docs/provider-wire.md §14); None for what it does not say."""
    stated = data.get("usage")
    counts = stated if isinstance(stated, dict) else {}
    fresh, read, written = (
        tokens(counts.get(name))
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    details = counts.get("output_tokens_details")
    return {
        "input_total": None if fresh is None else fresh + (read or 0) + (written or 0),
        "input_cached": read,
        "input_cache_write": written,
        "output_total": tokens(counts.get("output_tokens")),
        "reasoning": tokens(details.get("thinking_tokens")) if isinstance(details, dict) else None,
        "cost_usd": stated_usd(counts.get("cost"), data.get("cost")),  # OpenCode alone
    }
