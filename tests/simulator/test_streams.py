from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from simulator import text_digest
from tests.simulator.calls import PATHS, answer_text, body, chat
from tests.simulator.conftest import StartSimulator


def sse_events(text: str) -> list[dict[str, Any]]:
    """The JSON events of a stream that ends well."""
    *events, done = [block.removeprefix("data: ") for block in text.strip().split("\n\n")]
    assert done == "[DONE]"
    return [orjson.loads(event) for event in events]


async def test_openai_stream_deltas_make_answer(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """The joined deltas are the plain answer, and the last chunk says why it ended."""
    simulator = await start()
    plain = answer_text("openai", (await chat(client, simulator.url, "openai")).json())
    response = await chat(client, simulator.url, "openai", stream=True)
    assert response.headers["content-type"] == "text/event-stream"
    choices = [event["choices"][0] for event in sse_events(response.text)]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == plain
    assert [choice["finish_reason"] for choice in choices[-2:]] == [None, "stop"]


async def test_openai_stream_reports_usage_on_request(
    start: StartSimulator, client: httpx.AsyncClient
) -> None:
    """One more chunk without choices carries the usage, only when asked for."""
    simulator = await start(output_tokens=5)
    options = {"include_usage": True}
    asked = sse_events(
        (await chat(client, simulator.url, "openai", stream=True, stream_options=options)).text
    )
    unasked = sse_events((await chat(client, simulator.url, "openai", stream=True)).text)
    assert (asked[-1]["choices"], asked[-1]["usage"]["completion_tokens"]) == ([], 5)
    assert not any("usage" in event for event in unasked)


@pytest.mark.parametrize("wire", ["ollama", "ollama_generate"])
async def test_ollama_streams_unless_told_not_to(
    start: StartSimulator, client: httpx.AsyncClient, wire: str
) -> None:
    """Lines of JSON; only the last one is done and has counters."""
    simulator = await start()
    request = body(wire)
    del request["stream"]
    response = await client.post(simulator.url + PATHS[wire], json=request)
    assert response.headers["content-type"] == "application/x-ndjson"
    *parts, last = [orjson.loads(line) for line in response.text.splitlines()]
    assert "".join(answer_text(wire, part) for part in parts).split()[1] == text_digest("m", "", "hi")
    assert not any(part["done"] or "eval_count" in part for part in parts)
    assert last["done"] and last["eval_count"] == len(parts) - 2
