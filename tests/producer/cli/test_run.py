"""`chatq run` as a process: workers, signals, kill -9."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from producer.cli.own_worker import OwnWorker
from shared.errors import WorkerLost
from simulator import Simulator
from tests.support import WorkerRunner, wait_until

from .conftest import RunChatq
from .process import Chatq, finished, said

SHORT_LEASE = {"CHATQ_WORKER__LEASE_S": "0.8", "CHATQ_WORKER__RENEW_S": "0.2"}


@pytest.fixture
async def chatq(workers: WorkerRunner, tmp_path: Path) -> AsyncIterator[Chatq]:
    """On the test's Redis."""
    chatq = Chatq(tmp_path, workers.env)
    yield chatq
    await chatq.stop_all()


@pytest.fixture
async def lonely_chatq(workers: WorkerRunner, tmp_path: Path) -> AsyncIterator[Chatq]:
    """Without a Redis: it starts its own."""
    chatq = Chatq(tmp_path, {name: value for name, value in workers.env.items() if name != "CHATQ_REDIS_URL"})
    yield chatq
    await chatq.stop_all()


def write(folder: Path, count: int, **fields: Any) -> None:
    lines = (json.dumps({"id": f"id-{n}", "prompt": f"say {n}", **fields}) for n in range(1, count + 1))
    (folder / "in.jsonl").write_text("\n".join(lines))


def ids(folder: Path, name: str = "out.jsonl") -> list[str]:
    path = folder / name
    return [json.loads(line)["custom_id"] for line in path.read_text().splitlines()] if path.exists() else []


def all_ids(count: int) -> list[str]:
    return sorted(f"id-{n}" for n in range(1, count + 1))


def recorded(folder: Path) -> int:
    path = folder / "out.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


async def test_file_is_run_by_its_own_worker(chatq: Chatq, tmp_path: Path) -> None:
    """On an external Redis with --with-worker; the summary as JSON."""
    write(tmp_path, 50)
    done = await chatq.run("run", "in.jsonl", "-o", "out.jsonl", "-m", "m", "--with-worker", "--json")
    summary = json.loads(done.out)
    assert (done.code, summary["done"], summary["failed"], summary["is_complete"]) == (0, 50, 0, True)
    assert sorted(ids(tmp_path)) == all_ids(50)
    assert summary["models"][0]["output_tokens"] > 0


async def test_no_redis_needs_no_worker_either(lonely_chatq: Chatq, tmp_path: Path) -> None:
    """Embedded server and worker come and go with the run."""
    write(tmp_path, 20)
    done = await lonely_chatq.run("run", "in.jsonl", "-o", "out.jsonl", "-m", "m")
    assert (done.code, sorted(ids(tmp_path))) == (0, all_ids(20))
    assert "20 answered and 0 failed" in done.out
    assert not list(tmp_path.rglob("redis.sock"))


async def test_failed_lines_exit_with_1(chatq: Chatq, workers: WorkerRunner, tmp_path: Path) -> None:
    """Refused ones, broken ones, rejected ones; the rest is answered; a retry asks only for them."""
    workers.start()
    lines = [
        '{"prompt": "good"}', '{"prompt": "x", "model": "sim-fault-bad-key"}', "{oops",
        '{"prompt": "x", "stream": true}', '{"prompt": "x", "model": "kimi/k2"}',
    ]  # fmt: skip
    done = await chatq.run("run", "-", "-o", "out.jsonl", "-m", "m", stdin="\n".join(lines).encode())
    errors = [json.loads(line) for line in (tmp_path / "out.errors.jsonl").read_text().splitlines()]
    codes = {
        e["custom_id"]: e["error"]["code"] if e["error"] else e["response"]["status_code"] for e in errors
    }
    assert codes == {
        "line-2": 401, "line-3": "invalid_json_line", "line-4": "invalid_request", "line-5": "provider_not_found",
    }  # fmt: skip
    assert (done.code, ids(tmp_path)) == (1, ["line-1"])
    assert "errors: out.errors.jsonl (4 lines); ask again with --retry-failed" in done.out
    lines[1:] = ['{"prompt": "repaired"}'] * 4
    again = await chatq.run(
        "run", "-", "-o", "out.jsonl", "-m", "m", "--retry-failed", "-q", stdin="\n".join(lines).encode()
    )
    assert (again.code, again.out, len(ids(tmp_path))) == (0, "", 5)


async def test_fallback_answers_for_the_model(chatq: Chatq, workers: WorkerRunner, tmp_path: Path) -> None:
    """The first one cannot; the summary says who did."""
    workers.start()
    write(tmp_path, 5)
    args = ("-m", "sim-fault-bad-key", "--fallback", "openrouter/good", "--json")
    done = await chatq.run("run", "in.jsonl", "-o", "out.jsonl", *args)
    summary = json.loads(done.out)
    assert (done.code, summary["done"]) == (0, 5)
    assert {row["provider"] for row in summary["models"]} == {"openrouter"}


async def test_full_lane_only_slows_a_run(chatq: Chatq, workers: WorkerRunner, tmp_path: Path) -> None:
    """Every line is answered in the end."""
    workers.start()
    write(tmp_path, 40)
    done = await chatq.run(
        "run", "in.jsonl", "-o", "out.jsonl", "-m", "m", "--json", CHATQ_ADMISSION__BATCH__MAX_JOBS="15"
    )
    assert (done.code, sorted(ids(tmp_path))) == (0, all_ids(40))


async def test_missing_worker_is_told_then_waited_for(
    chatq: Chatq, workers: WorkerRunner, tmp_path: Path
) -> None:
    """The run goes on by itself when somebody starts one."""
    write(tmp_path, 3)
    process = await chatq.start("run", "in.jsonl", "-o", "out.jsonl", "-m", "m")
    line = await said(process, "no worker")
    assert line == "chatq: no worker serves ollama: start one with `chatq worker`\n"
    workers.start()
    assert (await finished(process)).code == 0


async def test_stopped_run_goes_on(chatq: Chatq, tmp_path: Path, simulator: Simulator) -> None:
    """What runs may finish and is recorded; every line is asked once in all."""
    write(tmp_path, 150)
    args = (
        "run",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "-m",
        "sim-latency-0.1",
        "--with-worker",
        "--concurrency",
        "20",
    )
    process = await chatq.start(*args)
    await wait_until(lambda: recorded(tmp_path) > 0)
    process.send_signal(signal.SIGINT)
    stopped = await finished(process)
    assert stopped.code == 130
    assert "not finished: run the same command again to go on" in stopped.out
    assert 0 < recorded(tmp_path) < 150
    done = await chatq.run(*args)
    assert (done.code, sorted(ids(tmp_path))) == (0, all_ids(150))
    assert set(Counter(calls(simulator)).values()) == {1}


async def test_killed_run_goes_on(
    chatq: Chatq, workers: WorkerRunner, tmp_path: Path, simulator: Simulator
) -> None:
    """After kill -9: one line each, and nothing asked again that was answered."""
    workers.start("--concurrency", "20")
    write(tmp_path, 200)
    args = ("run", "in.jsonl", "-o", "out.jsonl", "-m", "sim-latency-0.1")
    for least in (1, 60):
        process = await chatq.start(*args)
        await wait_until(lambda least=least: recorded(tmp_path) >= least)  # type: ignore[misc]
        process.kill()
        await finished(process)
    done = await chatq.run(*args)
    assert (done.code, sorted(ids(tmp_path))) == (0, all_ids(200))
    assert set(Counter(calls(simulator)).values()) == {1}


async def test_killed_worker_is_replaced(chatq: Chatq, tmp_path: Path) -> None:
    """The run says so, starts another, and every line is answered once."""
    write(tmp_path, 60)
    process = await chatq.start(
        "run", "in.jsonl", "-o", "out.jsonl", "-m", "sim-latency-0.1", "--with-worker", "--concurrency", "20",
        **SHORT_LEASE,
    )  # fmt: skip
    line = await said(process, "worker started")
    await wait_until(lambda: recorded(tmp_path) > 0)
    os.kill(int(line.removeprefix("chatq: worker started, pid ")), signal.SIGKILL)
    done = await finished(process)
    assert "the worker was ended by SIGKILL; starting another (1 of 3)" in done.err
    assert (done.code, sorted(ids(tmp_path))) == (0, all_ids(60))


async def test_worker_that_keeps_dying_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three more tries, with its last words."""
    monkeypatch.setattr("producer.cli.own_worker.RESTART_S", 0.0)
    (tmp_path / "broken.toml").write_text("[worker\n")
    env = {**os.environ, "CHATQ_CONFIG": str(tmp_path / "broken.toml")}
    said: list[str] = []
    worker = OwnWorker(env, concurrency=None, note=lambda text: None, say=said.append)
    with pytest.raises(WorkerLost, match=r"ended with code 3 again: .*broken\.toml is not valid TOML"):
        await worker.supervise()
    assert len(said) == 3


async def test_second_run_on_one_output_is_refused(chatq: Chatq, tmp_path: Path) -> None:
    """While the first one works."""
    write(tmp_path, 3)
    first = await chatq.start("run", "in.jsonl", "-o", "out.jsonl", "-m", "m")
    await wait_until(
        lambda: (tmp_path / "out.jsonl.run").exists() and (tmp_path / "out.jsonl.run").stat().st_size > 0
    )
    second = await chatq.run("run", "in.jsonl", "-o", "out.jsonl", "-m", "m")
    first.terminate()
    await finished(first)
    assert (second.code, second.out) == (2, "")
    assert "another run is writing here" in second.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("in.jsonl", "-o", "in.jsonl"), "would be overwritten"),
        (("nothing.jsonl", "-o", "out.jsonl"), "does not exist"),
        (("in.jsonl", "-o", "out.jsonl", "--restart", "--retry-failed"), "exclude each other"),
        (("in.jsonl", "-o", "out.jsonl", "--concurrency", "5"), "add --with-worker"),
        (("in.jsonl",), "Missing option"),
    ],
)
def test_wrong_use_is_refused(
    args: tuple[str, ...], words: str, run_chatq: RunChatq, redis_url: str, tmp_path: Path
) -> None:
    """Exit code 2, what to do, and nothing written."""
    write(tmp_path, 1)
    before = (tmp_path / "in.jsonl").read_bytes()
    result = run_chatq("run", *args, CHATQ_REDIS_URL=redis_url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert (tmp_path / "in.jsonl").read_bytes() == before
    assert not list(tmp_path.glob("out*"))


def calls(simulator: Simulator) -> list[str | None]:
    """The requests that reached the provider, by digest."""
    return [record.digest for record in simulator.calls]
