"""A Responses request in its own words: it goes out as it came, to the one wire that has these words."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from shared.errors import CandidateUnfit
from shared.native_responses import FIELD
from tests.worker.upstream.loopback import chat_request

BODY: dict[str, Any] = {
    "input": [{"role": "user", "content": "hi"}],
    "tools": [{"type": "web_search"}],
    "include": ["reasoning.encrypted_content"],
}

ANSWERED: dict[str, Any] = {
    "id": "resp_theirs",
    "object": "response",
    "status": "completed",
    "created_at": 5,
    "model": "m",
    "output": [
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "sealed"},
        {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "found", "annotations": []}],
        },
    ],
    "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
}


async def test_it_goes_out_as_it_came_and_the_answer_is_kept_whole(ask: Any) -> None:
    seen: list[dict[str, Any]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(orjson.loads(request.content))
        return httpx.Response(200, json=ANSWERED)

    answer = await ask(
        handler, chat_request(**{FIELD: BODY}), wire="responses", base_url="http://upstream.test/v1"
    )
    assert seen == [{**BODY, "model": "m", "store": False}]
    assert answer.response["chatq"]["response"] == ANSWERED
    assert answer.response["choices"][0]["message"]["content"] == "found"
    assert answer.usage["output_total"] == 4


async def test_ordinary_request_keeps_no_whole_answer(ask: Any) -> None:
    answer = await ask(
        lambda _: httpx.Response(200, json=ANSWERED),
        chat_request(),
        wire="responses",
        base_url="http://upstream.test/v1",
    )
    assert "response" not in answer.response["chatq"]


@pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini", "ollama", "ollama_generate"])
async def test_no_other_wire_is_asked(ask: Any, wire: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    with pytest.raises(CandidateUnfit):
        await ask(handler, chat_request(**{FIELD: BODY}), wire=wire, base_url="http://upstream.test/v1")
