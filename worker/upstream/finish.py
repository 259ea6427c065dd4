"""Finish reasons of a ChatCompletion that make it no answer (docs/provider-wire.md §3, §9, §11, §17)."""

from __future__ import annotations

from typing import Any

from worker.error_text import as_text, clean_text
from worker.upstream.answers import content_refused, malformed

_BROKEN_OFF = {
    "error": "error_in_answer",  # OpenRouter
    "insufficient_system_resource": "interrupted",  # DeepSeek: the server broke off
    "repetition_truncation": "repetition",  # MiMo: the model looped and was cut
}
"""The reasons after which another attempt may bring an answer, with the errors' codes."""


def raise_if_broken_off(reason: str, choice: dict[str, Any]) -> None:
    """Refuse a choice whose finish reason says that there is no usable answer in it.

    Raises:
        UpstreamUnavailable: The model or the server broke off.
        CandidateUnfit: The provider's filter let nothing through.
    """
    code = _BROKEN_OFF.get(reason)
    if code is not None:
        native = clean_text(as_text(choice.get("native_finish_reason") or reason))
        raise malformed(f"the model did not finish its answer ({native})", code=code)
    if reason == "content_filter" and _is_empty(choice.get("message")):
        raise content_refused("the provider's content filter let nothing through")


def _is_empty(message: Any) -> bool:
    return not isinstance(message, dict) or not (message.get("content") or message.get("tool_calls"))
