"""An answer that is none may say all the same what it took: its error carries that, so that it can be priced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from shared.chat import NO_USAGE
from shared.errors import UpstreamError

Ask = Callable[..., Any]

FAILURES: list[tuple[str, dict[str, Any], tuple[int | None, int | None]]] = [
    (
        "openai",
        {
            "choices": [{"message": {"content": "a a a"}, "finish_reason": "repetition_truncation"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 900},
        },
        (7, 900),
    ),
    (
        "gemini",
        {
            "promptFeedback": {"blockReason": "SAFETY"},
            "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7},
        },
        (7, None),
    ),
    (
        "anthropic",
        {"type": "message", "content": "no list", "usage": {"input_tokens": 7, "output_tokens": 3}},
        (7, 3),
    ),
    (
        "responses",
        {"status": "failed", "output": [], "usage": {"input_tokens": 7, "output_tokens": 3}},
        (7, 3),
    ),
    ("ollama", {"done": True, "message": None, "prompt_eval_count": 7, "eval_count": 3}, (7, 3)),
]


@pytest.mark.parametrize(("wire", "body", "counted"), FAILURES, ids=[wire for wire, _, _ in FAILURES])
async def test_error_has_what_was_counted(
    ask: Ask, wire: str, body: dict[str, Any], counted: tuple[int | None, int | None]
) -> None:
    with pytest.raises(UpstreamError) as failed:
        await ask(httpx.Response(200, json=body), wire=wire)
    usage = failed.value.usage
    assert usage is not None
    assert (usage["input_total"], usage["output_total"]) == counted


@pytest.mark.parametrize("wire", ["openai", "gemini", "anthropic", "responses", "ollama"])
async def test_nothing_is_counted_of_what_cannot_be_read(ask: Ask, wire: str) -> None:
    """Unknown, not 0."""
    with pytest.raises(UpstreamError) as failed:
        await ask(httpx.Response(200, content=b"<html>"), wire=wire)
    assert failed.value.usage == NO_USAGE
