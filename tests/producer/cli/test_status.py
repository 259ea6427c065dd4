"""`chatq status`: queues by lane, and workers."""

from __future__ import annotations

import asyncio
import json
import time

from producer import Producer
from shared.job import Lane
from tests.support import RedisServer, WorkerRunner

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


async def test_status_says_what_stands_in_the_way(
    run_chatq: RunChatq, redis_url: str, redis_server: RedisServer, producer: Producer
) -> None:
    """Closed accounts, used-up limits, suspects: a line each."""
    await producer.submit(REQUEST)
    until = (time.time() - 1_735_689_600 + 60) * 1000
    with redis_server.client() as raw:
        raw.set("chatq:scope:account:ollama", json.dumps({"closed_until": until}), ex=60)
        raw.rpush("chatq:quarantine:ollama", "x", "y")
    result = await asyncio.to_thread(run_chatq, "status", CHATQ_REDIS_URL=redis_url)
    assert "ollama: closed, as the provider asked until " in result.stdout
    assert "ollama: 2 in quarantine, their workers died" in result.stdout
    assert "3 waiting, 0 in flight" in result.stdout


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
