"""chatd's routes, with its status codes."""

from __future__ import annotations

import asyncio
import subprocess

import httpx
import pytest

from shared.job import JobError
from tests.producer.api.conftest import CHAT, Hand, Serve

Worker = subprocess.Popen[bytes]


async def test_chat_answers_with_content_counts_and_latency(api: httpx.AsyncClient, worker: Worker) -> None:
    body = (await api.post("/chat", json={**CHAT, "model": "qwen3.5"})).json()
    assert (body["provider"], body["model"]) == ("ollama", "qwen3.5")
    assert body["content"]
    assert body["usage"]["prompt_tokens"] > 0
    assert body["usage"]["completion_tokens"] > 0
    assert body["latency_ms"] >= 0


@pytest.mark.parametrize("missing", ["model", "messages"])
async def test_missing_field_is_400(api: httpx.AsyncClient, missing: str) -> None:
    answer = await api.post("/chat", json={k: v for k, v in CHAT.items() if k != missing})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, missing)


async def test_bad_json_is_400_and_a_large_body_413(api: httpx.AsyncClient) -> None:
    assert (await api.post("/chat", content=b"{")).status_code == 400
    large = {**CHAT, "messages": [{"role": "user", "content": "x" * (4 * 1024 * 1024)}]}
    assert (await api.post("/chat", json=large)).status_code == 413


async def test_provider_without_a_key_is_404_and_one_switched_off_503(serve: Serve) -> None:
    async with serve(CHATQ_PROVIDERS__OPENROUTER__BASE_URL="") as api:
        assert (await api.post("/chat", json={**CHAT, "model": "openai/m"})).status_code == 404
        assert (await api.post("/chat", json={**CHAT, "model": "openrouter/m"})).status_code == 503


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (JobError("model_not_found", "no such model", 404, "ollama"), 502),
        (JobError("server_error", "it broke", 500, "ollama"), 502),
        (JobError("read_timeout", "silence", None, "ollama"), 504),
        (JobError("internal_error", "a bug"), 500),
    ],
)
async def test_upstream_error_is_502_and_a_timeout_504(
    api: httpx.AsyncClient, hand: Hand, error: JobError, status: int
) -> None:
    asking = asyncio.create_task(api.post("/chat", json=CHAT))
    while not (grants := await hand.claim()):
        await asyncio.sleep(0.01)
    await hand.fail(grants[0], error)
    assert (await asking).status_code == status


async def test_providers_are_listed_as_registered(api: httpx.AsyncClient, worker: Worker) -> None:
    rows = (await api.get("/chat/providers")).json()["providers"]
    assert {row["name"]: (row["available"], row["workers"]) for row in rows} == {
        "ollama": (True, 1),
        "ollama_cloud": (True, 1),
        "openrouter": (True, 1),
    }


async def test_provider_whose_key_was_refused_is_not_available(
    api: httpx.AsyncClient, worker: Worker
) -> None:
    """A rejected key closes the account for everybody, and the list says why."""
    assert (
        await api.post("/chat", json={**CHAT, "model": "openrouter/sim-fault-bad-key"})
    ).status_code == 502
    rows = {row["name"]: row for row in (await api.get("/chat/providers")).json()["providers"]}
    assert (rows["openrouter"]["available"], rows["openrouter"]["reason"]) == (False, "credentials")
    assert rows["ollama"]["available"]
