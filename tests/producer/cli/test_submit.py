"""`chatq submit`: what becomes of its options, and its exit codes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import redis

from producer import Producer
from shared.job import JobState, Lane
from tests.support import RedisServer, WorkerRunner

from .conftest import RunChatq


@pytest.fixture
def env(redis_url: str) -> dict[str, str]:
    return {"CHATQ_REDIS_URL": redis_url}


def request_of(server: RedisServer, job_id: str) -> dict[str, Any]:
    """The request as it stands in Redis: the only argument of RQ's call."""
    with server.client() as client:
        data = client.hget(f"rq:job:{job_id}", "data")
    call = json.loads(str(data))
    found: dict[str, Any] = call[2][0] if isinstance(call[2][0], dict) else json.loads(call[2][0])
    return found


async def test_submit_prints_the_id_of_a_queued_job(
    run_chatq: RunChatq, env: dict[str, str], producer: Producer
) -> None:
    """One line, for scripts."""
    result = await asyncio.to_thread(run_chatq, "submit", "m", "hi", **env)
    assert result.exit_code == 0
    job = await producer.get(result.stdout.strip())
    assert (job.state, job.lane, job.requested_model) == (JobState.QUEUED, "default", "m")


async def test_options_become_the_job(run_chatq: RunChatq, env: dict[str, str], producer: Producer) -> None:
    """Lane, labels and deadline stand with the job."""
    result = await asyncio.to_thread(
        run_chatq, "submit", "m", "hi", "--lane", "interactive", "--metadata", "case=17", "--metadata", "a=b=c",
        "--source", "cli-test", "--expires-in", "30m", "--json", **env,
    )  # fmt: skip
    job = await producer.get(json.loads(result.stdout)["id"])
    assert (job.lane, job.metadata, job.source) == (Lane.INTERACTIVE, {"case": "17", "a": "b=c"}, "cli-test")


def test_options_become_the_request(
    run_chatq: RunChatq, env: dict[str, str], redis_server: RedisServer
) -> None:
    """Values of --param are JSON where they can be."""
    result = run_chatq(
        "submit", "m", "hi", "--system", "be brief", "--max-tokens", "9", "--temperature", "0.5",
        "--param", "seed=3", "--param", "stop=END", "--param", 'response_format={"type":"json_object"}', **env,
    )  # fmt: skip
    assert request_of(redis_server, result.stdout.strip()) == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "max_tokens": 9, "temperature": 0.5, "seed": 3, "stop": "END", "response_format": {"type": "json_object"},
    }  # fmt: skip


def test_request_is_read_from_a_file(
    run_chatq: RunChatq, env: dict[str, str], redis_server: RedisServer, tmp_path: Path
) -> None:
    """MODEL on the command line is set over the file's."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    (tmp_path / "body.json").write_text(json.dumps(body))
    result = run_chatq("submit", "other", "--request", "body.json", **env)
    assert request_of(redis_server, result.stdout.strip()) == {**body, "model": "other"}


async def test_fallbacks_stand_in_the_request(
    run_chatq: RunChatq, env: dict[str, str], redis_server: RedisServer, producer: Producer
) -> None:
    """In their order; they are the job's further candidates."""
    result = await asyncio.to_thread(
        run_chatq, "submit", "m", "hi", "--fallback", "ollama/n", "--fallback", "o", **env
    )
    assert request_of(redis_server, result.stdout.strip())["fallbacks"] == ["ollama/n", "o"]
    job = await producer.get(result.stdout.strip())
    assert [one.model for one in job.candidates] == ["m", "n", "o"]


def test_full_lane_exits_with_7(run_chatq: RunChatq, env: dict[str, str]) -> None:
    """With why, and when to come back."""
    full = {**env, "CHATQ_ADMISSION__DEFAULT__MAX_JOBS": "1"}
    run_chatq("submit", "m", "hi", **full)
    result = run_chatq("submit", "m", "hi", **full)
    assert (result.exit_code, result.stdout) == (7, "")
    line = result.stderr.splitlines()[-1]
    assert line.startswith("chatq: queue ollama.default takes no more: 1 jobs wait there")
    assert line.endswith("try again later")


async def test_wait_prints_the_answer(run_chatq: RunChatq, workers: WorkerRunner) -> None:
    """Its text, and nothing else on standard output."""
    workers.start()
    result = await asyncio.to_thread(
        run_chatq, "submit", "m", "hi", "--wait", "--timeout", "20", **workers.env
    )
    assert result.exit_code == 0
    assert result.stdout.startswith("echo ")


async def test_wait_that_takes_too_long_says_why(run_chatq: RunChatq, env: dict[str, str]) -> None:
    """Nobody works; the job stays."""
    result = await asyncio.to_thread(run_chatq, "submit", "m", "hi", "--wait", "--timeout", "0.1", **env)
    assert result.exit_code == 6
    assert "no worker serves ollama now: start one with `chatq worker`" in result.stderr
    assert "it goes on" in result.stderr.splitlines()[-1]


def test_same_key_is_the_same_job(run_chatq: RunChatq, env: dict[str, str]) -> None:
    """The same id; with another request a conflict."""
    first, second = (run_chatq("submit", "m", "hi", "--idempotency-key", "k", **env) for _ in range(2))
    other = run_chatq("submit", "m", "ho", "--idempotency-key", "k", **env)
    assert first.stdout == second.stdout
    assert (other.exit_code, other.stdout) == (2, "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "give MODEL and PROMPT, or --request FILE"),
        (("m",), "give MODEL and PROMPT, or --request FILE"),
        (("m", "hi", "--request", "body.json"), "give either PROMPT or --request"),
        (("m", "hi", "--expires-in", "soon"), "write 90s, 30m, 2h or 1d"),
        (("m", "hi", "--expires-in", "0s"), "write 90s, 30m, 2h or 1d"),
        (("m", "hi", "--metadata", "novalue"), "write NAME=VALUE"),
        (("m", "hi", "--timeout", "3"), "--timeout goes with --wait"),
        (("m", "hi", "--param", "temperature=9"), "temperature: "),
        (("", "hi"), "model"),
        (("--request", "broken.json"), "--request is not JSON"),
        (("--request", "list.json"), "--request must be a JSON object"),
    ],
)
def test_wrong_use_exits_with_2(
    args: tuple[str, ...], words: str, run_chatq: RunChatq, env: dict[str, str], tmp_path: Path
) -> None:
    """Nothing on standard output, what to do on standard error."""
    (tmp_path / "body.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    result = run_chatq("submit", *args, **env)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_unregistered_provider_makes_no_job(run_chatq: RunChatq, env: dict[str, str], redis_url: str) -> None:
    """Exit code 4, and Redis is empty."""
    result = run_chatq("submit", "kimi/k2", "hi", **env)
    assert (result.exit_code, result.stdout) == (4, "")
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_unreachable_redis_exits_with_5(run_chatq: RunChatq) -> None:
    """One line that says what to check."""
    result = run_chatq("submit", "m", "hi", CHATQ_REDIS_URL="redis://127.0.0.1:1", CHATQ_REDIS__RETRY_S="0")
    assert (result.exit_code, result.stderr.count("\n")) == (5, 1)
    assert "CHATQ_REDIS_URL" in result.stderr
