"""`chatq up`: everything in one command, gone with it."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
import redis

from simulator import Simulator
from tests.support import wait_until

from .process import Chatq, finished, said

CHAT = {"model": "local_fast", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for temporary files with a short path: sockets are made in it, and theirs are limited."""
    with tempfile.TemporaryDirectory(prefix="chatq-up-test-") as folder:
        yield Path(folder)


@pytest.fixture
async def chatq(tmp_path: Path, short: Path) -> AsyncIterator[Chatq]:
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(short)}
    chatq = Chatq(tmp_path, env)
    yield chatq
    await chatq.stop_all()


@pytest.fixture
def bind(port: int) -> str:
    return f"127.0.0.1:{port}"


def processes(folder: Path) -> list[Any]:
    """What runs with this folder for temporary files."""
    return [
        p
        for p in psutil.process_iter(["cmdline", "environ"])
        if (p.info["environ"] or {}).get("TMPDIR") == str(folder) and p.info["cmdline"]
    ]


async def test_demo_answers_a_call_and_leaves_nothing_behind(chatq: Chatq, short: Path, bind: str) -> None:
    """Redis, simulator, API, worker and batcher start together and end together, by Ctrl-C."""
    up = await chatq.start("up", "--demo", "--bind", bind)
    assert f"OPENAI_BASE_URL=http://{bind}/v1" in await said(up, "chatq is up")
    async with httpx.AsyncClient(base_url=f"http://{bind}/v1", timeout=20, trust_env=False) as client:
        answer = await client.post("/chat/completions", json=CHAT)
    assert answer.json()["choices"][0]["message"]["content"]
    running = {word for p in processes(short) for word in p.info["cmdline"] if word in ("api", "batcher")}
    assert running == {"api", "batcher"}
    up.send_signal(signal.SIGINT)
    assert (await finished(up)).code == 0
    assert processes(short) == []
    assert list(short.iterdir()) == []


async def test_demo_that_is_stopped_while_it_starts_leaves_nothing_behind(
    chatq: Chatq, short: Path, bind: str
) -> None:
    """The simulator is there before anything else is."""
    up = await chatq.start("up", "--demo", "--bind", bind)
    await wait_until(lambda: any("simulator" in p.info["cmdline"] for p in processes(short)))
    up.send_signal(signal.SIGTERM)
    await finished(up)
    assert processes(short) == []
    assert list(short.iterdir()) == []


async def test_demo_that_is_killed_leaves_no_simulator(chatq: Chatq, short: Path, bind: str) -> None:
    """Nor an API, worker or batcher. Its Redis stays, as one that others may use."""
    up = await chatq.start("up", "--demo", "--bind", bind)
    await said(up, "chatq is up")
    assert len(processes(short)) > 4
    up.kill()
    await wait_until(lambda: processes(short) == [])
    await finished(up)
    (socket,) = short.rglob("redis.sock")
    with redis.Redis(unix_socket_path=str(socket)) as left:
        left.shutdown(nosave=True)


async def test_children_end_with_a_parent_that_is_killed(
    chatq: Chatq, short: Path, bind: str, redis_url: str, simulator: Simulator
) -> None:
    env = {"CHATQ_REDIS_URL": redis_url, "CHATQ_PROVIDERS__OLLAMA__BASE_URL": simulator.url}
    up = await chatq.start("up", "--bind", bind, **env)
    await said(up, "chatq is up")
    assert len(processes(short)) == 4
    up.kill()
    await wait_until(lambda: processes(short) == [])
    await finished(up)


async def test_wrong_settings_end_it(chatq: Chatq, bind: str) -> None:
    """A child that cannot start for its settings is not tried again for ever."""
    opened = await chatq.run("up", "--bind", "0.0.0.0:1", CHATQ_AUTH__TOKEN="")
    assert opened.code == 3
    assert "token" in opened.err
    off = await chatq.run("up", "--bind", bind, CHATQ_PROVIDERS__OLLAMA__BASE_URL="")
    assert (off.code, "no provider is registered" in off.err) == (3, True)
