"""Runs that may cost only so much: they stop cleanly, and go on with exactly the lines that were left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from producer.batch import BatchRun, Plan, Tally
from producer.batch.books import Books
from producer.batch.budget import Budget, ClientBudget
from producer.batch.estimate import Estimator
from producer.batch.spending import Funds
from shared.errors import JobRejected, LaneFull, StoreUnavailable
from shared.job import Attempt, JobError, JobState, Lane

from .memory_client import job
from .queue_client import FlatEstimator, QueueClient, QueueWatch, priced

BILLED = Attempt(1, None, 0.0, 1.0, 500, "x", cost_usd=1.0, maybe_billed=True)


class Paid:
    """One input and output, run as often as a test likes on one queue."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "in.jsonl"
        self.output = folder / "out.jsonl"
        self.client = QueueClient(outcome=priced(1))
        self.estimator = FlatEstimator()
        self.tally = Tally()
        self.budget = Budget(max_cost_usd=None, spent=self.tally.cost_before)
        self.of_client: ClientBudget | None = None

    def write(self, count: int, **odd: Any) -> None:
        """Lines 1 to `count`; keywords `line_3` add fields to one."""
        lines = (
            json.dumps({"id": f"id-{n}", "prompt": f"say {n}", **odd.get(f"line_{n}", {})})
            for n in range(1, count + 1)
        )
        self.source.write_text("\n".join(lines))

    async def run(
        self,
        max_cost: str | None,
        *,
        stop_when: Callable[[], bool] | None = None,
        is_retry: bool = False,
        window: int = 100,
    ) -> bool:
        """Run to the end, or have it finish as soon as something is the case."""
        with Books(self.source, self.output, is_retry=is_retry) as books:
            self.tally = books.tally()
            limit = None if max_cost is None else Decimal(max_cost)
            self.budget = Budget(max_cost_usd=limit, spent=books.spent, client=self.of_client)
            funds = Funds(self.budget, cast(Estimator, self.estimator))
            has_limit = max_cost is not None or self.of_client is not None
            plan = Plan(self.source, "m", Lane.BATCH, window, max_line_bytes=10_000, retry_s=0.5)
            run = BatchRun(self.client, books, self.tally, plan, funds=funds if has_limit else None)
            running = asyncio.create_task(run.run())
            while stop_when is not None and not running.done():
                if stop_when():
                    run.finish()
                await asyncio.sleep(0)
            return await running

    def records(self, name: str = "out.jsonl") -> list[dict[str, Any]]:
        path = self.output.with_name(name)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def errors(self) -> dict[str, str]:
        """Code by custom id."""
        return {r["custom_id"]: r["error"]["code"] for r in self.records("out.errors.jsonl")}

    def answered(self) -> list[str]:
        return sorted(record["custom_id"] for record in self.records())

    def calls(self) -> int:
        return sum(self.client.asked.values())


def ids(*numbers: int) -> list[str]:
    return sorted(f"id-{n}" for n in numbers)


@pytest.fixture
def paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paid:
    monkeypatch.setattr("producer.batch.guard.CANCEL_S", 0.005)
    monkeypatch.setattr("producer.batch.guard.LOOK_S", 0.005)
    return Paid(tmp_path)


async def test_run_stops_at_its_limit(paid: Paid) -> None:
    """Every line is recorded, as answered or as not asked; nothing stays behind in the queue."""
    paid.write(50)
    assert not await paid.run("10")
    assert paid.answered() == ids(*range(1, 11))
    assert set(paid.errors().values()) == {"budget_reached"}
    assert (len(paid.errors()), paid.calls(), paid.client.jobs) == (40, 10, {})
    assert (paid.tally.not_asked, paid.budget.counted_usd) == (40, 10)


async def test_higher_limit_goes_on_with_exactly_the_rest(paid: Paid) -> None:
    """As often as one likes; each line is called once in all, and the marks go."""
    paid.write(50)
    for limit, done in (("10", 10), ("10", 10), ("25.5", 25), ("100", 50)):
        is_complete = await paid.run(limit)
        assert (is_complete, len(paid.answered()), len(paid.errors())) == (done == 50, done, 50 - done)
    assert set(paid.client.asked.values()) == {1}
    assert not paid.output.with_name("out.errors.jsonl").exists()
    assert not paid.output.with_name("out.jsonl.run").exists()


async def test_without_a_limit_it_goes_on_too(paid: Paid) -> None:
    paid.write(20)
    await paid.run("5")
    assert await paid.run(None)
    assert (paid.answered(), paid.errors(), paid.calls()) == (ids(*range(1, 21)), {}, 20)


async def test_cheap_answers_make_room(paid: Paid) -> None:
    """What was reserved for them and not needed is spent on later lines."""
    paid.client.outcome = priced(0.25)
    paid.write(50)
    assert not await paid.run("10")
    assert len(paid.answered()) == 37  # the 38th needs 1 where 0.75 is left
    assert paid.budget.counted_usd == Decimal("9.25")


async def test_dear_answers_cancel_what_waits(paid: Paid) -> None:
    """Estimates were too low: running calls finish, queued ones are cancelled, and asked by the next run."""
    paid.estimator = FlatEstimator("0.01")
    paid.write(50)
    assert not await paid.run("10")
    first = len(paid.answered())
    assert 11 <= first <= 11 + 2 * paid.client.concurrency
    assert first == paid.calls()
    assert paid.client.jobs == {}
    assert await paid.run("100")
    assert (len(paid.answered()), paid.errors(), set(paid.client.asked.values())) == (50, {}, {1})


async def test_unknown_cost_counts_as_estimated(paid: Paid) -> None:
    """In the next run, too: it stands in the records."""
    paid.client.outcome = priced(None)
    paid.write(20)
    assert not await paid.run("5")
    assert (paid.calls(), paid.tally.sum().cost_unknown, paid.tally.sum().known_cost_usd) == (5, 5, None)
    assert not await paid.run("8")
    assert paid.calls() == 8


async def test_line_without_a_price_is_not_asked(paid: Paid) -> None:
    """No limit could be kept for it; that is said, and the others go on."""
    paid.write(5, line_2={"price": None}, line_4={"stream": True})
    assert await paid.run("10")
    assert paid.errors() == {"id-2": "price_unknown", "id-4": "invalid_request"}
    assert paid.answered() == ids(1, 3, 5)


async def test_what_costs_nothing_is_never_stopped(paid: Paid) -> None:
    paid.client.outcome = priced(0)
    paid.estimator = FlatEstimator("0")
    paid.write(30)
    assert await paid.run("0")
    assert len(paid.answered()) == 30


async def test_bad_lines_after_the_limit_are_still_told(paid: Paid) -> None:
    """They would not get better with more money."""
    paid.write(5)
    with paid.source.open("a") as file:
        file.write("\n{oops")
    assert not await paid.run("2")
    assert paid.errors()["line-6"] == "invalid_json_line"
    await paid.run("10")
    assert paid.errors() == {"line-6": "invalid_json_line"}


async def test_interrupted_run_knows_what_it_spent(paid: Paid) -> None:
    """Jobs that are in the queue already are collected first, and count."""
    paid.write(50)
    assert not await paid.run("20", stop_when=lambda: paid.tally.done >= 4)
    assert not await paid.run("20")
    assert (len(paid.answered()), paid.calls(), set(paid.client.asked.values())) == (20, 20, {1})


async def test_answers_in_the_queue_are_collected_though_the_money_is_spent(paid: Paid) -> None:
    """The calls were made, and paid for: their answers must not be asked again."""
    paid.client.is_stalled = True
    paid.client.concurrency = 30
    paid.write(40)
    assert not await paid.run("30", stop_when=lambda: len(paid.client.jobs) == 30)
    paid.client.start()
    paid.client.is_stalled = False
    assert not await paid.run("3")
    assert (len(paid.answered()), paid.calls()) == (30, 30)
    assert await paid.run("100")
    assert (len(paid.answered()), set(paid.client.asked.values())) == (40, {1})


async def test_cancelled_but_not_recorded_is_asked_by_the_next_run(paid: Paid) -> None:
    """A crash between the cancel and the disk leaves a cancelled job, which must not answer for its line."""
    paid.client.is_stalled = True
    paid.write(10)
    await paid.run("100", stop_when=lambda: len(paid.client.jobs) == 10)
    queued = paid.client.in_state(JobState.QUEUED)
    await paid.client.cancel_many(queued[:3])
    with paid.output.with_name("out.jsonl.run").open("a") as file:
        file.write('\n{"has_cancelled":true}\n{"dropp')
    paid.client.is_stalled = False
    assert await paid.run(None)
    assert (len(paid.answered()), paid.errors(), set(paid.client.asked.values())) == (10, {}, {1})


async def test_job_that_somebody_cancelled_stays_cancelled(paid: Paid) -> None:
    """It is that line's error, whatever there is to spend."""
    paid.client.is_stalled = True
    paid.write(10)
    await paid.run("100", stop_when=lambda: len(paid.client.jobs) == 10)
    await paid.client.cancel_many(paid.client.in_state(JobState.QUEUED)[:1])
    paid.client.is_stalled = False
    assert await paid.run("100")
    assert list(paid.errors().values()) == ["batch_cancelled"]


async def test_failed_lines_keep_their_cost(paid: Paid) -> None:
    """Also when they are asked again: the money is gone."""
    calls = [JobError("x", "y")] * 3

    def outcome(submission: Any, job_id: str) -> Any:
        if calls:
            failed = job(job_id, JobState.FAILED, error=calls.pop())
            failed.attempts_log.append(BILLED)
            return failed
        return priced(1)(submission, job_id)

    paid.client.outcome = outcome
    paid.write(10)
    assert not await paid.run("5")
    assert (len(paid.answered()), paid.budget.counted_usd) == (2, 5)
    assert not await paid.run("7", is_retry=True)
    assert (len(paid.answered()), paid.budget.counted_usd) == (4, 7)
    assert await paid.run("13")
    assert (len(paid.answered()), paid.errors()) == (10, {})


async def test_client_budget_stops_a_run(paid: Paid) -> None:
    """What others spend for the same client counts."""
    others, ended = Decimal(6), set[str]()

    def outcome(submission: Any, job_id: str) -> Any:
        ended.add(job_id)
        return priced(1)(submission, job_id)

    async def spent() -> Decimal:
        return others + len(ended)

    paid.client.outcome = outcome

    paid.of_client = ClientBudget("nightly", Decimal(10), spent)
    paid.write(20)
    assert not await paid.run(None)
    assert 2 <= len(paid.answered()) <= 4  # what settles while the client is looked at may count twice
    assert "the budget of client nightly" in paid.records("out.errors.jsonl")[0]["error"]["message"]
    paid.of_client = None
    assert await paid.run(None)
    assert (len(paid.answered()), set(paid.client.asked.values())) == (20, {1})


class FullWatch(QueueWatch):
    """Has room for three jobs at a time."""

    async def submit_many(self, submissions: Any) -> list[str | JobRejected]:
        submissions = list(submissions)
        room = max(0, 3 - len(self._watched))
        full = LaneFull("full", queue="q", retry_after_s=0.01)
        taken = await super().submit_many(submissions[:room])
        return [*taken, *[full] * len(submissions[room:])]


class FullClient(QueueClient):
    def watch(self) -> QueueWatch:
        return FullWatch(self)


async def test_money_may_run_out_while_a_lane_is_full(paid: Paid, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for room is left out, and its money given back."""
    monkeypatch.setattr("producer.batch.feeder.SHORTEST_PAUSE_S", 0.01)
    paid.client = FullClient(outcome=priced(1))
    paid.estimator = FlatEstimator("0.01")
    paid.write(40)
    assert not await paid.run("5")
    assert 6 <= len(paid.answered()) <= 9
    assert len(paid.answered()) + len(paid.errors()) == 40
    assert await paid.run("100")
    assert (len(paid.answered()), set(paid.client.asked.values())) == (40, {1})


class FlakyClient(QueueClient):
    """Redis is away when the guard first wants to cancel; no call ends meanwhile."""

    failures = 2

    async def cancel_many(self, job_ids: Sequence[str], *, spares_running: bool = False) -> int:
        self.is_stalled = self.failures > 0
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("gone")
        return await super().cancel_many(job_ids, spares_running=spares_running)


async def test_short_outage_does_not_stop_the_guard(paid: Paid) -> None:
    """What waits is cancelled a little later."""
    paid.client = FlakyClient(concurrency=1, outcome=priced(10))
    paid.estimator = FlatEstimator("0.01")
    paid.write(50)
    assert not await paid.run("5")
    assert len(paid.answered()) < 50
    assert (paid.client.jobs, paid.client.failures) == ({}, 0)
