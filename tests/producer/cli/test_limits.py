"""`chatq limits`: look, set, open."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
import redis

from producer import Producer
from tests.support import RedisServer, WorkerRunner

from .conftest import RunChatq

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def env(redis_url: str) -> dict[str, str]:
    return {"CHATQ_REDIS_URL": redis_url}


@pytest.fixture
def raw(redis_server: RedisServer) -> redis.Redis:
    return redis_server.client()


def row(stdout: str, scope: str) -> list[str]:
    return next(line.split() for line in stdout.splitlines() if line.split()[:1] == [scope])


def test_limits_are_set_and_shown(run_chatq: RunChatq, env: dict[str, str]) -> None:
    """A number, none, default; both commands print the scope as it is now."""
    done = run_chatq("limits", "set", "ollama", "--rpm", "600", "--tpm", "none", "--slice", "2", **env)
    assert done.exit_code == 0
    assert row(done.stdout, "ollama")[1:3] == ["600", "-"]
    (shown,) = json.loads(run_chatq("limits", "show", "ollama", "--json", **env).stdout)
    assert shown["set"] == {"rpm": 600, "tpm": 0, "slice_ms": 2000}
    assert shown["in_force"] == {"rpm": pytest.approx(600)}
    back = run_chatq(
        "limits",
        "set",
        "ollama",
        "--rpm",
        "default",
        "--tpm",
        "default",
        "--slice",
        "default",
        "--json",
        **env,
    )
    assert json.loads(back.stdout)["set"] == {}


def test_client_has_a_weight(run_chatq: RunChatq, env: dict[str, str]) -> None:
    """And limits over all providers."""
    done = run_chatq("limits", "set", "client:alice", "--weight", "3", "--concurrency", "4", "--json", **env)
    assert json.loads(done.stdout)["set"] == {"weight": 3, "concurrency": 4}


def test_closed_scope_says_why_until_it_is_opened(
    run_chatq: RunChatq, env: dict[str, str], raw: redis.Redis
) -> None:
    """With what to do."""
    raw.hset("chatq:accounts", "ollama", "ollama")
    state = {
        "breaker": "open",
        "opened_why": "credentials",
        "open_until": (time.time() - 1_735_689_600 + 60) * 1000,
    }
    raw.set("chatq:scope:account:ollama", json.dumps(state), ex=60)
    before = run_chatq("limits", "show", **env).stdout
    assert "closed: credentials refused until " in before
    assert "once mended: chatq limits open ollama" in before
    assert run_chatq("limits", "open", "ollama", **env).stdout == "opened ollama\n"
    assert json.loads(run_chatq("limits", "open", "ollama", "--json", **env).stdout) == {"opened": []}
    assert row(run_chatq("limits", "show", "ollama", **env).stdout, "ollama")[-1] == "ok"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("set", "nobody", "--rpm", "1"), 4, "write an account (ollama), ACCOUNT/MODEL or client:ID"),
        (("show", "nobody/m"), 4, "no limits are kept for 'nobody/m'"),
        (("open", "provider:nobody"), 4, "no limits are kept for"),
        (("set", "ollama"), 2, "give at least one of --rpm"),
        (("set", "ollama", "--rpm", "0"), 2, "write a number from 1 to 10,000,000, 'none' or 'default'"),
        (("set", "ollama", "--rpm", "1.5"), 2, "write a number from 1"),
        (("set", "ollama", "--slice", "none"), 2, "write a number from 0.05 to 60, 'default'"),
        (("set", "ollama", "--slice", "nan"), 2, "write a number from 0.05"),
        (("set", "ollama", "--weight", "2"), 2, "only clients have a weight"),
    ],
)
def test_wrong_use_is_refused(
    args: tuple[str, ...], code: int, words: str, run_chatq: RunChatq, env: dict[str, str]
) -> None:
    """One line that says what is right."""
    result = run_chatq("limits", *args, **env)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr


async def test_new_limits_act_within_two_seconds(
    run_chatq: RunChatq, workers: WorkerRunner, producer: Producer
) -> None:
    """One a minute lets one of three through; without a limit the others follow at once."""
    await asyncio.to_thread(run_chatq, "limits", "set", "ollama", "--rpm", "1", **workers.env)
    workers.start()
    ids = [await producer.submit(REQUEST) for _ in range(3)]
    async with producer.watch() as watch:
        await watch.add(ids)
        first = await watch.next_batch(timeout_s=20)
        assert len(first) == 1
        done = await asyncio.to_thread(run_chatq, "limits", "set", "ollama", "--rpm", "none", **workers.env)
        assert done.exit_code == 0
        async with asyncio.timeout(2):
            rest = [job async for job in watch]
    assert {job.id for job in first + rest} == set(ids)
