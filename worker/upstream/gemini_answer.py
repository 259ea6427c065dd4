"""Gemini's answers as a ChatCompletion (docs/provider-wire.md §8, §14)."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from shared.errors import CandidateUnfit
from shared.usage import Usage
from worker.error_text import as_text, clean_text
from worker.upstream.answers import content_refused, malformed, tokens, translated
from worker.upstream.stated_cost import stated_usd
from worker.upstream.wire import Completion

_FINISHED = {"STOP": "stop", "MAX_TOKENS": "length"}

_FILTERED = frozenset(
    {
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR",
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "PUP_LIMITED_DISABLED",
    }
)  # fmt: skip
"""Finish reasons of a filter: another vendor's may let it through."""

_BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
        "OTHER", "IMAGE_OTHER", "NO_IMAGE", "ESCALATION", "CONTINUATION",
    }
)  # fmt: skip
"""Finish reasons of an answer that came to nothing: another attempt may bring one."""


def completion(data: dict[str, Any], model: str) -> Completion:
    """Translate an answer.

    Raises:
        CandidateUnfit: The prompt was blocked, or the filter let nothing through.
        UpstreamUnavailable: The answer is broken off, or is none.
    """
    candidate = _candidate(data)
    message = _message(candidate)
    finish_reason = _finish_reason(candidate.get("finishReason"), message)
    return translated(
        message,
        finish_reason,
        usage_of(data),
        id=data.get("responseId"),
        model=data.get("modelVersion") or model,
    )


def _candidate(data: dict[str, Any]) -> dict[str, Any]:
    candidates = data.get("candidates")
    if not candidates:
        feedback = data.get("promptFeedback")
        blocked = feedback.get("blockReason") if isinstance(feedback, dict) else None
        if blocked:
            raise content_refused(f"the provider blocked the prompt ({_word(blocked)})")
        raise malformed("the answer has no candidates", code="no_choices")
    if not isinstance(candidates, list) or not isinstance(candidates[0], dict):
        raise malformed("the answer's candidates are not a list of objects")
    return candidates[0]


def _message(candidate: dict[str, Any]) -> dict[str, Any]:
    content = candidate.get("content") or {}
    parts = content.get("parts") or [] if isinstance(content, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise malformed("the answer's parts are not a list of objects")
    calls = [_call(part) for part in parts if part.get("functionCall") is not None]
    said = "".join(_text(part) for part in parts if not part.get("thought"))
    thought = "".join(_text(part) for part in parts if part.get("thought"))
    images = [_image(part["inlineData"]) for part in parts if part.get("inlineData") is not None]
    message: dict[str, Any] = {"role": "assistant", "content": said or (None if calls else "")}
    optional = {"reasoning_content": thought, "tool_calls": calls, "images": images}
    message.update((name, value) for name, value in optional.items() if value)
    return message


def _text(part: dict[str, Any]) -> str:
    text = part.get("text", "")
    if not isinstance(text, str):
        raise malformed("the answer has text that is none")
    return text


def _call(part: dict[str, Any]) -> dict[str, Any]:
    function = part["functionCall"]
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise malformed("a function call of the answer names no function")
    call: dict[str, Any] = {
        "id": str(function.get("id") or f"call_{uuid.uuid4().hex}"),
        "type": "function",
        "function": {
            "name": function["name"],
            "arguments": orjson.dumps(function.get("args") or {}).decode(),
        },
    }
    signature = part.get("thoughtSignature")
    if signature:  # goes back with the call; this is where Google's OpenAI-like API puts it
        call["extra_content"] = {"google": {"thought_signature": signature}}
    return call


def _image(blob: Any) -> dict[str, Any]:
    """An image that the model made, in the form that OpenRouter's clients know."""
    if not isinstance(blob, dict) or not isinstance(blob.get("data"), str):
        raise malformed("an image of the answer has no data")
    url = f"data:{as_text(blob.get('mimeType') or 'image/png')};base64,{blob['data']}"
    return {"type": "image_url", "image_url": {"url": url}}


def _finish_reason(stated: Any, message: dict[str, Any]) -> str:
    is_empty = not (message["content"] or message.keys() & {"tool_calls", "images"})
    if not isinstance(stated, str) or not stated:
        raise malformed("the answer ended before it was done", code="truncated")
    if stated == "MISSING_THOUGHT_SIGNATURE":
        raise CandidateUnfit(
            "the history has a function call without its thought signature",
            code="history_refused",
            status=200,
            maybe_billed=True,
        )
    if stated in _BROKEN:
        raise malformed(f"the model did not finish its answer ({stated})", code="interrupted")
    if stated in _FINISHED:
        finished = _FINISHED[stated]
        return "tool_calls" if finished == "stop" and "tool_calls" in message else finished
    if is_empty:  # a word that is not known yet is taken for a filter's, as most of them are
        raise content_refused(f"the provider's content filter let nothing through ({_word(stated)})")
    return "content_filter" if stated in _FILTERED else stated.lower()


def _word(stated: Any) -> str:
    return clean_text(as_text(stated))[:60]


def usage_of(data: dict[str, Any]) -> Usage:
    """What an answer says it took (docs/provider-wire.md §14); None for what it does not say."""
    stated = data.get("usageMetadata")
    counts = stated if isinstance(stated, dict) else {}
    thoughts = tokens(counts.get("thoughtsTokenCount"))
    return {
        "input_total": _sum(
            tokens(counts.get("promptTokenCount")), tokens(counts.get("toolUsePromptTokenCount"))
        ),
        "input_cached": tokens(counts.get("cachedContentTokenCount")),
        "input_cache_write": None,
        "output_total": _sum(tokens(counts.get("candidatesTokenCount")), thoughts),
        "reasoning": thoughts,
        "cost_usd": stated_usd(counts.get("cost"), data.get("cost")),  # OpenCode alone
    }


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None and second is None else (first or 0) + (second or 0)
