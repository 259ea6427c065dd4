"""An answer that is none may say all the same what it took: its error carries that, so that it can be priced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from shared.errors import UpstreamError, UpstreamUnavailable
from shared.usage import NO_USAGE
from tests.worker.upstream.streams.recorded import chunk, part, sse

Ask = Callable[..., Any]

START = {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}}
DELTA = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 40}}
FAILED = {
    "type": "response.failed",
    "response": {
        "status": "failed",
        "error": {"code": "server_error", "message": "x"},
        "usage": {"input_tokens": 7, "output_tokens": 3},
    },
}

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
    (
        "openai",
        {"error": {"code": 502}, "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
        (7, 3),
    ),
    (
        "responses",
        {
            "status": "failed",
            "error": {"code": "server_error", "message": "x"},
            "usage": {"input_tokens": 7, "output_tokens": 3},
        },
        (7, 3),
    ),
]


@pytest.mark.parametrize(
    ("wire", "body", "counted"), FAILURES, ids=[f"{wire} {' '.join(body)}" for wire, body, _ in FAILURES]
)
async def test_error_has_what_was_counted(
    ask: Ask, wire: str, body: dict[str, Any], counted: tuple[int | None, int | None]
) -> None:
    with pytest.raises(UpstreamError) as failed:
        await ask(httpx.Response(200, json=body), wire=wire)
    usage = failed.value.usage
    assert usage is not None
    assert (usage["input_total"], usage["output_total"]) == counted


EVENT_STREAM = {"content-type": "text/event-stream"}
BROKEN = {"error": {"code": 502, "message": "broken off"}}
COUNTED = {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}

STREAMS: list[tuple[str, str, list[dict[str, Any]], tuple[int | None, int | None]]] = [
    ("openai", "error after the usage", [chunk({"content": "a"}, **COUNTED), BROKEN], (7, 3)),
    ("openai", "usage in the error's event", [chunk({"content": "a"}), {**BROKEN, **COUNTED}], (7, 3)),
    ("openai", "end without its mark", [chunk({"content": "a"}, **COUNTED)], (7, 3)),
    ("openai", "broken before the usage", [chunk({"content": "a"})], (None, None)),
    ("anthropic", "broken: only the input is counted", [START], (7, None)),
    ("anthropic", "error: only the input is counted", [START, {"type": "error", **BROKEN}], (7, None)),
    ("anthropic", "end without its mark", [START, DELTA], (7, 40)),
    (
        "gemini",
        "error after a part",
        [part({"text": "a"}), BROKEN],
        (7, 6),
    ),
    ("responses", "failed", [FAILED], (7, 3)),
    ("responses", "error event", [{"type": "error", "message": "x", "code": "server_error"}], (None, None)),
]


@pytest.mark.parametrize(
    ("wire", "name", "events", "counted"), STREAMS, ids=[f"{wire}: {name}" for wire, name, _, _ in STREAMS]
)
async def test_stream_that_breaks_off_has_what_was_counted(
    ask: Ask, wire: str, name: str, events: list[dict[str, Any]], counted: tuple[int | None, int | None]
) -> None:
    """Whatever ends it. What is not known to be whole, as the output before its end, is unknown, not less."""
    reply = httpx.Response(200, headers=EVENT_STREAM, content=sse(*events))
    with pytest.raises(UpstreamError) as failed:
        await ask(reply, wire=wire, stream=True)
    usage = failed.value.usage
    assert usage is not None
    assert (usage["input_total"], usage["output_total"], failed.value.maybe_billed) == (*counted, True)


async def test_connection_that_breaks_leaves_what_was_counted(ask: Ask) -> None:
    """As a cut or a stall: no answer comes back at all."""

    async def cut() -> AsyncIterator[bytes]:
        yield sse(chunk({"content": "a"}, **COUNTED))
        raise httpx.ReadError("reset")

    with pytest.raises(UpstreamUnavailable) as failed:
        await ask(httpx.Response(200, headers=EVENT_STREAM, content=cut()), stream=True)
    usage = failed.value.usage
    assert (failed.value.code, usage and usage["output_total"]) == ("truncated", 3)


@pytest.mark.parametrize("wire", ["openai", "gemini", "anthropic", "responses", "ollama"])
async def test_nothing_is_counted_of_what_cannot_be_read(ask: Ask, wire: str) -> None:
    """Unknown, not 0."""
    with pytest.raises(UpstreamError) as failed:
        await ask(httpx.Response(200, content=b"<html>"), wire=wire)
    assert failed.value.usage == NO_USAGE
