"""`chatq run` with money: dry runs, limits, budgets, on real workers and a simulated provider."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from producer.cli.context import CliContext
from producer.cli.cost import cost
from simulator import Simulator
from tests.support import WorkerRunner, wait_until

from .conftest import RunChatq
from .process import Chatq, finished

MODEL = "openrouter/v/sim-latency-0.05"
"""An answer of one token costs a dollar, its prompt nothing."""

SETTINGS = """
[catalogue."openrouter/*"]
kind = "metered"
price = { input = 0.0, output = 1_000_000.0 }
[clients.nightly]
budget_usd = 6.0
limits = { rpm = 3000 }
[providers.openrouter.limits]
rpm = 6000
"""


@pytest.fixture
def priced(tmp_path: Path, workers: WorkerRunner) -> dict[str, str]:
    """An environment with prices."""
    (tmp_path / "priced.toml").write_text(SETTINGS)
    return {**workers.env, "CHATQ_CONFIG": str(tmp_path / "priced.toml")}


@pytest.fixture
async def chatq(priced: dict[str, str], tmp_path: Path) -> AsyncIterator[Chatq]:
    chatq = Chatq(tmp_path, priced)
    yield chatq
    await chatq.stop_all()


def write(folder: Path, count: int, **fields: Any) -> None:
    lines = (
        json.dumps({"id": f"id-{n}", "prompt": f"say {n}", "max_tokens": 1, **fields})
        for n in range(1, count + 1)
    )
    (folder / "in.jsonl").write_text("\n".join(lines))


def ids(folder: Path, name: str = "out.jsonl") -> list[str]:
    path = folder / name
    return (
        sorted(json.loads(line)["custom_id"] for line in path.read_text().splitlines())
        if path.exists()
        else []
    )


def calls(simulator: Simulator) -> list[str | None]:
    return [record.digest for record in simulator.calls]


RUN = ("run", "in.jsonl", "-o", "out.jsonl", "-m", MODEL, "--json")


async def test_run_stops_at_its_limit_and_goes_on(
    chatq: Chatq, workers: WorkerRunner, tmp_path: Path, simulator: Simulator
) -> None:
    """Exit code 1, every line recorded; a higher limit asks exactly the rest; nothing is paid twice."""
    workers.start("--concurrency", "4", CHATQ_CONFIG=chatq.env["CHATQ_CONFIG"])
    write(tmp_path, 20)
    stopped = await chatq.run(*RUN, "--max-cost", "8")
    summary = json.loads(stopped.out)
    assert (stopped.code, summary["cost_usd"], summary["not_asked"], summary["is_complete"]) == (
        1,
        8.0,
        12,
        False,
    )
    assert summary["stopped_by"] == "--max-cost 8 USD is spent"
    assert (len(ids(tmp_path)), len(ids(tmp_path, "out.errors.jsonl")), len(simulator.calls)) == (8, 12, 8)
    done = await chatq.run(*RUN, "--max-cost", "20")
    summary = json.loads(done.out)
    assert (done.code, summary["cost_usd"], summary["cost_before_usd"], summary["is_complete"]) == (
        0,
        12.0,
        8.0,
        True,
    )
    assert (len(ids(tmp_path)), set(Counter(calls(simulator)).values())) == (20, {1})


async def test_killed_run_keeps_its_limit(
    chatq: Chatq, workers: WorkerRunner, tmp_path: Path, simulator: Simulator
) -> None:
    """After kill -9: what was spent is known from disk and queue."""
    workers.start("--concurrency", "4", CHATQ_CONFIG=chatq.env["CHATQ_CONFIG"])
    write(tmp_path, 40)
    process = await chatq.start(*RUN, "--max-cost", "12")
    await wait_until(lambda: len(simulator.calls) >= 6)
    process.kill()
    await finished(process)
    stopped = await chatq.run(*RUN, "--max-cost", "12")
    assert (stopped.code, len(ids(tmp_path)), len(simulator.calls)) == (1, 12, 12)
    done = await chatq.run(*RUN, "--max-cost", "1000")
    assert (done.code, len(ids(tmp_path)), set(Counter(calls(simulator)).values())) == (0, 40, {1})


async def test_people_hear_why_it_stopped(chatq: Chatq, workers: WorkerRunner, tmp_path: Path) -> None:
    """And what it cost."""
    workers.start(CHATQ_CONFIG=chatq.env["CHATQ_CONFIG"])
    write(tmp_path, 5)
    stopped = await chatq.run(*RUN[:-1], "--max-cost", "2")
    assert "cost: $2.0000\n" in stopped.out
    assert "--max-cost 2 USD is spent: 3 lines were not asked" in stopped.out
    assert "not finished" not in stopped.out


async def test_budget_of_a_client_counts_all_its_work(
    chatq: Chatq, workers: WorkerRunner, tmp_path: Path, simulator: Simulator
) -> None:
    """Of earlier runs too, though their output is another; a budget by hand goes over it."""
    workers.start(CHATQ_CONFIG=chatq.env["CHATQ_CONFIG"])
    write(tmp_path, 4)
    first = await chatq.run("run", "in.jsonl", "-o", "first.jsonl", "-m", MODEL, "--client", "nightly")
    assert first.code == 0
    stopped = await chatq.run(*RUN, "--client", "nightly")
    assert (stopped.code, len(ids(tmp_path)), len(simulator.calls)) == (1, 2, 6)
    assert "the budget of client nightly, 6.0 USD a day (UTC), is spent" in stopped.out
    done = await chatq.run(*RUN, "--client", "nightly", "--budget", "100")
    assert (done.code, len(ids(tmp_path)), len(simulator.calls)) == (0, 4, 8)


async def test_unfinished_run_wants_its_client(chatq: Chatq, workers: WorkerRunner, tmp_path: Path) -> None:
    """Its jobs are that client's: another's would be paid again."""
    workers.start(CHATQ_CONFIG=chatq.env["CHATQ_CONFIG"])
    write(tmp_path, 3)
    await chatq.run(*RUN, "--max-cost", "1")
    other = await chatq.run(*RUN, "--client", "nightly")
    assert (other.code, "unfinished run for client default" in other.err) == (2, True)


async def test_get_and_cost_show_what_was_spent(chatq: Chatq, workers: WorkerRunner, tmp_path: Path) -> None:
    """A job, a model, a client."""
    workers.start(CHATQ_CONFIG=chatq.env["CHATQ_CONFIG"])
    submitted = await chatq.run("submit", MODEL, "hi", "--max-tokens", "1", "--wait", "--json")
    job = json.loads(submitted.out)
    assert (job["cost_usd"], job["cost_unknown"]) == (1.0, 0)
    summary = await chatq.run("telemetry", "summary", "--json")
    assert json.loads(summary.out)["calls"][0]["cost_usd"] == 1.0
    context = CliContext(env=chatq.env)
    shown = await asyncio.to_thread(CliRunner().invoke, cost, ["--by", "client", "--json"], obj=context)
    (row,) = json.loads(shown.stdout)["rows"]
    assert (row["client"], row["cost_usd"], row["calls_by_basis"]) == ("default", 1.0, {"computed": 1})


# -- dry runs -------------------------------------------------------------------------------------


def dry(run_chatq: RunChatq, env: dict[str, str], *args: str) -> dict[str, Any]:
    result = run_chatq("run", "in.jsonl", "-m", MODEL, "--dry-run", "--json", *args, **env)
    assert result.exit_code in (0, 1), result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_dry_run_tells_tokens_cost_and_time(
    run_chatq: RunChatq, priced: dict[str, str], tmp_path: Path, simulator: Simulator
) -> None:
    """Of each model; nothing is written, submitted or called."""
    write(tmp_path, 30)
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write('\n{"prompt": "x", "model": "openrouter/v/long"}\n{"prompt": "x", "model": "free"}')
    before = {path.name for path in tmp_path.iterdir()}
    found = dry(run_chatq, priced)
    assert (found["lines"], found["to_ask"], found["invalid"]) == (32, 32, 0)
    rows = {row["upstream_model"]: row for row in found["models"]}
    assert rows["v/sim-latency-0.05"]["cost_usd"] == [30.0, 30.0]
    assert rows["v/long"]["output_tokens"] == [256, 1024]
    assert rows["v/long"]["cost_usd"] == [256.0, 1024.0]
    assert (rows["free"]["cost_usd"], found["cost_usd"]) == ([0.0, 0.0], [286.0, 1054.0])
    assert (found["time_s"], found["time_decided_by"]) == ([0.3, 0.3], "openrouter: 6,000 rpm")
    assert {path.name for path in tmp_path.iterdir()} == before
    assert simulator.calls == []


def test_dry_run_finds_invalid_lines(run_chatq: RunChatq, priced: dict[str, str], tmp_path: Path) -> None:
    """As the run would; exit code 1; the first ones are shown with their reasons."""
    bad = [
        "{oops",
        '{"prompt": "x", "stream": true}',
        '{"prompt": "x", "model": "kimi/k2"}',
        '{"prompt": "fine"}',
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(bad + ["[]"] * 20))
    result = run_chatq("run", "in.jsonl", "-m", MODEL, "--dry-run", **priced)
    assert result.exit_code == 1
    assert "24 lines: 1 to ask, 23 invalid" in result.stdout
    assert "  line 2 (line-2): invalid_request: stream: " in result.stdout
    assert "  line 3 (line-3): provider_not_found: " in result.stdout
    assert "  and 13 more" in result.stdout
    assert "cost, each line asked once: $256.0000 – $1,024.0000" in result.stdout


def test_dry_run_knows_limits_set_by_hand(
    run_chatq: RunChatq, priced: dict[str, str], tmp_path: Path
) -> None:
    """And those of the client; the slowest decides."""
    write(tmp_path, 30)
    assert dry(run_chatq, priced, "--client", "nightly")["time_decided_by"] == "client:nightly: 3,000 rpm"
    assert run_chatq("limits", "set", "openrouter", "--rpm", "30", **priced).exit_code == 0
    assert dry(run_chatq, priced)["time_s"] == [60.0, 60.0]
    assert run_chatq("limits", "set", "openrouter", "--rpm", "none", **priced).exit_code == 0
    assert dry(run_chatq, priced)["time_s"] is None
    run_chatq("limits", "set", "openrouter", "--rpm", "default", **priced)


def test_dry_run_without_a_price_says_so(run_chatq: RunChatq, workers: WorkerRunner, tmp_path: Path) -> None:
    """Nothing is guessed."""
    write(tmp_path, 3)
    result = run_chatq("run", "in.jsonl", "-m", "openrouter/nobody/knows", "--dry-run", **workers.env)
    assert "cost, each line asked once: unknown for 3 lines" in result.stdout
    assert "time: unknown" in result.stdout


async def test_dry_run_leaves_recorded_lines_out(
    run_chatq: RunChatq, chatq: Chatq, workers: WorkerRunner, tmp_path: Path
) -> None:
    """What a run would not ask again; lines that were left out it would."""
    workers.start(CHATQ_CONFIG=chatq.env["CHATQ_CONFIG"])
    write(tmp_path, 5)
    await chatq.run(*RUN, "--max-cost", "2")
    before = (tmp_path / "out.errors.jsonl").read_bytes()
    done = await chatq.run(*RUN, "--dry-run")
    found = json.loads(done.out)
    assert (found["to_ask"], found["recorded_before"], found["cost_usd"]) == (3, 2, [3.0, 3.0])
    assert (tmp_path / "out.errors.jsonl").read_bytes() == before


@pytest.mark.parametrize("args", [("--max-cost", "much"), ("--max-cost", "-1"), ("--budget", "nan")])
def test_amount_must_be_one(
    args: tuple[str, str], run_chatq: RunChatq, priced: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path, 1)
    result = run_chatq("run", "in.jsonl", "-o", "out.jsonl", *args, **priced)
    assert (result.exit_code, "write an amount of US dollars" in result.stderr) == (2, True)
