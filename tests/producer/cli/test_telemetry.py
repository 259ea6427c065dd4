"""`chatq telemetry`: the events of real calls, one by one and together."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import orjson
import pytest
import redis

from producer import Producer
from tests.support import RedisServer, WorkerRunner

from .conftest import RunChatq
from .process import Chatq

REQUEST = {"messages": [{"role": "user", "content": "the prompt nobody else may read"}]}


@pytest.fixture
def env(redis_url: str) -> dict[str, str]:
    return {"CHATQ_REDIS_URL": redis_url}


async def after_two_jobs(workers: WorkerRunner, producer: Producer) -> list[str]:
    """One answered at the second attempt, one refused."""
    workers.start(CHATQ_JOBS__BACKOFF_BASE_S="0.01")
    ids = []
    for model in ("openrouter/v/sim-fault-500-first-1", "sim-fault-bad-key"):
        ids.append(await producer.submit({**REQUEST, "model": model}, source="nightly"))
        await producer.wait(ids[-1], timeout_s=20)
    return ids


async def test_tail_prints_a_line_an_event(
    run_chatq: RunChatq, workers: WorkerRunner, producer: Producer
) -> None:
    """Oldest first: two calls and an outcome, then one call and its outcome."""
    first, second = await after_two_jobs(workers, producer)
    result = await asyncio.to_thread(run_chatq, "telemetry", "tail", **workers.env)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [(line[1], line[2]) for line in lines] == [
        ("attempt", first), ("attempt", first), ("outcome", first), ("attempt", second), ("outcome", second),
    ]  # fmt: skip
    assert lines[0][3:6] == ["openrouter/v/sim-fault-500-first-1", "#1", "server_error"]
    assert "completed" in lines[2]
    assert "(credential_rejected)" in lines[4]


async def test_tail_prints_events_as_json(
    run_chatq: RunChatq, workers: WorkerRunner, producer: Producer
) -> None:
    """The newest two, whole; without any content."""
    _, job_id = await after_two_jobs(workers, producer)
    result = await asyncio.to_thread(run_chatq, "telemetry", "tail", "-n", "2", "--json", **workers.env)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(event["type"], event["job"]) for event in events] == [("attempt", job_id), ("outcome", job_id)]
    assert events[0]["error_class"] == "credentials"
    assert (events[1]["tried"], events[1]["source"]) == (["ollama/sim-fault-bad-key"], "nightly")
    assert events[1]["recorded_at"] > 1.7e9
    assert "nobody else" not in result.stdout


async def test_tail_speaks_opentelemetry(
    run_chatq: RunChatq, workers: WorkerRunner, producer: Producer
) -> None:
    await after_two_jobs(workers, producer)
    result = await asyncio.to_thread(run_chatq, "telemetry", "tail", "-n", "1", "--otel", **workers.env)
    assert json.loads(result.stdout)["attributes"]["gen_ai.provider.name"] == "ollama"


async def test_summary_adds_up(run_chatq: RunChatq, workers: WorkerRunner, producer: Producer) -> None:
    """By provider and model, by state, and from the counters of the minute."""
    await after_two_jobs(workers, producer)
    result = await asyncio.to_thread(run_chatq, "telemetry", "summary", "--json", **workers.env)
    found = json.loads(result.stdout)
    calls = {row["provider"]: row for row in found["calls"]}
    assert (calls["openrouter"]["calls"], calls["openrouter"]["ok"], calls["openrouter"]["retries"]) == (
        2,
        1,
        1,
    )
    assert calls["openrouter"]["errors"] == {"server_error": 1}
    assert calls["openrouter"]["duration_s"].keys() == {"p50", "p95", "p99"}
    assert (calls["openrouter"]["cost_usd"], calls["openrouter"]["cost_unknown"]) == (None, 1)
    assert found["outcomes"] == found["counters"]["ended"] == {"completed": 1, "failed": 1}
    assert found["counters"]["waits"] == [{"provider": "openrouter", "reason": "backoff", "count": 1}]
    assert {(c["provider"], c["ended"]): c["count"] for c in found["counters"]["calls"]} == {
        ("openrouter", "ok"): 1, ("openrouter", "retry"): 1, ("ollama", "credentials"): 1,
    }  # fmt: skip
    tokens = {(t["provider"], t["direction"]): t["count"] for t in found["counters"]["tokens"]}
    assert tokens["openrouter", "output"] == calls["openrouter"]["output_tokens"] > 0
    assert found["counters"]["cost_unknown"] == {"openrouter": 1}
    assert (found["stream"]["entries"], found["stream"]["broken"], found["stream"]["is_cut"]) == (3, 0, False)


async def test_summary_for_people(run_chatq: RunChatq, workers: WorkerRunner, producer: Producer) -> None:
    """A table, the errors, the jobs."""
    await after_two_jobs(workers, producer)
    result = await asyncio.to_thread(run_chatq, "telemetry", "summary", "--since", "30m", **workers.env)
    assert "openrouter/v/sim-fault-500-first-1: 1 × server_error" in result.stdout
    assert "jobs: 1 completed, 1 failed" in result.stdout
    assert "1 waits at openrouter: backoff" in result.stdout
    assert "from 3 entries of the stream" in result.stdout


@pytest.mark.parametrize("command", ["tail", "summary"])
def test_nothing_yet_is_no_error(command: str, run_chatq: RunChatq, env: dict[str, str]) -> None:
    result = run_chatq("telemetry", command, **env)
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.fixture
def raw(redis_server: RedisServer, redis_url: str) -> redis.Redis:
    with redis_server.client() as client:
        yield client  # type: ignore[misc]


def test_broken_event_is_counted(run_chatq: RunChatq, env: dict[str, str], raw: redis.Redis) -> None:
    """The others are shown."""
    raw.xadd("chatq:events", {"attempt": "{"})
    raw.xadd("chatq:events", {"outcome": '{"type":"outcome","job":"j","queue":"p.batch","state":"expired"}'})
    tail, summary = run_chatq("telemetry", "tail", **env), run_chatq("telemetry", "summary", **env)
    assert tail.stdout.split()[1:5] == ["outcome", "j", "p.batch", "expired"]
    assert "jobs: 1 expired" in summary.stdout
    assert tail.stderr == summary.stderr == "chatq: warning: 1 events could not be read\n"


def test_event_cannot_steer_the_terminal(run_chatq: RunChatq, env: dict[str, str], raw: redis.Redis) -> None:
    """Whatever its fields and its id are."""
    odd = {"provider": "\x1b[2J", "model": "m" * 300, "error": ["\x07"], "duration_s": "x", "cost_usd": {}}
    raw.xadd(
        "chatq:events",
        {"attempt": orjson.dumps({"type": "attempt", "job": "\r", **odd})},
        id="18446744073709551615-1",
    )
    assert run_chatq("telemetry", "tail", "--otel", **env).exit_code == 0
    for command in ("tail", "summary"):
        result = run_chatq("telemetry", command, **env)
        assert result.exit_code == 0
        assert "\\x1b[2J" in result.stdout
        assert not set("\x1b\x07\r") & set(result.stdout)


async def test_tail_follows(redis_url: str, raw: redis.Redis, tmp_path: Path) -> None:
    """What comes later is printed when it comes, once; Ctrl-C ends it."""
    chatq = Chatq(tmp_path, {"PATH": "", "HOME": str(tmp_path), "CHATQ_REDIS_URL": redis_url})
    raw.xadd("chatq:events", {"outcome": '{"type":"outcome","job":"before"}'})
    process = await chatq.start("telemetry", "tail", "--follow", "--json", "-n", "0")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            reading = asyncio.create_task(process.stdout.readline())
            while not reading.done():  # it looks for the newest entry first, some time after its start
                raw.xadd("chatq:events", {"outcome": '{"type":"outcome","job":"later"}'})
                await asyncio.wait([reading], timeout=0.2)
        assert json.loads(reading.result())["job"] == "later"
    finally:
        await chatq.stop_all()


def test_summary_says_when_it_did_not_read_all(
    run_chatq: RunChatq, env: dict[str, str], raw: redis.Redis
) -> None:
    """It reads the newest entries only."""
    for _ in range(3):
        raw.xadd("chatq:events", {"outcome": '{"type":"outcome","job":"j","state":"completed"}'})
    result = run_chatq("telemetry", "summary", "--entries", "2", **env)
    assert "jobs: 2 completed" in result.stdout
    assert "there may be more: see --entries" in result.stdout


def test_since_needs_a_duration(run_chatq: RunChatq, env: dict[str, str]) -> None:
    result = run_chatq("telemetry", "summary", "--since", "yesterday", **env)
    assert (result.exit_code, "write 90s, 30m, 2h or 1d" in result.stderr) == (2, True)
