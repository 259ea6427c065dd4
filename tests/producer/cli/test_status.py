"""`chatq status`: queues by lane, and workers."""

from __future__ import annotations

import asyncio
import json

from producer import Producer
from shared.job import Lane
from tests.support import WorkerRunner

from .conftest import RunChatq

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def test_status_counts_by_lane(run_chatq: RunChatq, redis_url: str, producer: Producer) -> None:
    """Waiting jobs, the age of the oldest, and that nobody works."""
    for lane in (Lane.BATCH, Lane.BATCH, Lane.INTERACTIVE):
        await producer.submit(REQUEST, lane=lane)
    result = await asyncio.to_thread(run_chatq, "status", CHATQ_REDIS_URL=redis_url)
    rows = {tuple(line.split()[:2]): line.split()[2:5] for line in result.stdout.splitlines()}
    assert rows["ollama", "batch"] == ["2", "0", "0"]
    assert rows["ollama", "interactive"] == ["1", "0", "0"]
    assert "3 waiting, 0 in flight, 0 workers; nobody works" in result.stdout


async def test_status_lists_workers(run_chatq: RunChatq, workers: WorkerRunner) -> None:
    """With pid and the providers they serve, also as JSON."""
    process = workers.start()
    text = await asyncio.to_thread(run_chatq, "status", **workers.env)
    data = await asyncio.to_thread(run_chatq, "status", "--json", **workers.env)
    (worker,) = json.loads(data.stdout)["workers"]
    assert worker["pid"] == process.pid
    assert f" {process.pid} " in text.stdout
    assert "ollama, ollama_cloud, openrouter" in text.stdout


def test_status_of_an_empty_redis_is_no_error(run_chatq: RunChatq, redis_url: str) -> None:
    """Headings, and zeros."""
    result = run_chatq("status", CHATQ_REDIS_URL=redis_url)
    assert result.exit_code == 0
    assert result.stdout.endswith("0 waiting, 0 in flight, 0 workers\n")
