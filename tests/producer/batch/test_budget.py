"""The arithmetic of a budget."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.batch.budget import Budget, ClientBudget
from producer.batch.line_cost import NOTHING, LineCost
from producer.job_cost import JobCost

ONE = Decimal(1)


def budget(most: str | None = "3", spent: LineCost = NOTHING, client: ClientBudget | None = None) -> Budget:
    return Budget(max_cost_usd=None if most is None else Decimal(most), spent=spent, client=client)


def known(usd: str) -> JobCost:
    return JobCost(Decimal(usd), 0)


def test_lines_fit_until_it_is_full() -> None:
    """One that does not fit has to wait while others may turn out cheaper."""
    money = budget()
    assert [money.reserve(str(n), ONE) for n in range(4)] == [True, True, True, False]
    assert not money.reached.is_set()
    money.settle("0", known("0.4"))
    assert not money.reserve("3", ONE)
    money.settle("1", known("0.4"))
    assert money.reserve("3", ONE)


def test_line_that_can_never_fit_reaches_it() -> None:
    """Nothing is in flight whose reservation could be settled for less."""
    money = budget(spent=LineCost(Decimal("2.5")))
    assert not money.reserve("a", ONE)
    assert money.reached.is_set()
    assert money.why == "--max-cost 3 USD is spent"
    assert not money.reserve("b", Decimal(0))


def test_reservation_is_made_once() -> None:
    """A line that is handed in again after a full lane has one already."""
    money = budget("1")
    assert money.reserve("a", ONE)
    assert money.reserve("a", ONE)
    money.book("a", ONE)
    assert money.release("a") == ONE
    assert money.reserve("b", ONE)


def test_more_than_there_was_reaches_it() -> None:
    """An estimate may have been too low."""
    money = budget()
    money.reserve("a", ONE)
    money.settle("a", known("3"))
    assert not money.reached.is_set()
    money.book("b", ONE)
    money.settle("b", known("0.01"))
    assert money.reached.is_set()


def test_call_of_unknown_cost_counts_as_reserved() -> None:
    money = budget()
    money.reserve("a", ONE)
    assert money.settle("a", JobCost(Decimal("0.5"), 2)).assumed_usd == 2
    assert money.counted_usd == Decimal("2.5")


def test_what_costs_nothing_always_fits() -> None:
    """Own hardware and flat plans, on a budget of nothing."""
    assert budget("0").reserve("a", Decimal(0))


async def test_waiting_ends_with_a_settlement() -> None:
    money = budget("1")
    money.reserve("a", ONE)
    waiting = asyncio.create_task(money.changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    money.settle("a", known("0.5"))
    await waiting


async def test_client_budget_counts_the_work_of_others() -> None:
    """With what this run has spent since the last look; each once."""
    seen = [Decimal("1.5"), Decimal("2")]

    async def spent() -> Decimal:
        return seen.pop(0)

    money = budget(None, client=ClientBudget("nightly", Decimal(3), spent))
    await money.look_at_client()
    assert not money.reserve("a", Decimal(2))
    money = budget(None, client=ClientBudget("nightly", Decimal(3), spent))
    await money.look_at_client()
    assert money.reserve("a", ONE)
    money.settle("a", known("0.75"))
    assert money.reserve("b", Decimal("0.25"))
    assert not money.reserve("c", Decimal("0.01"))


async def test_client_budget_may_be_spent_by_others() -> None:
    """It says whose it was."""
    spent = asyncio.Future[Decimal]()
    spent.set_result(Decimal(4))

    async def look() -> Decimal:
        return await spent

    money = budget(None, client=ClientBudget("nightly", Decimal(3), look))
    await money.look_at_client()
    assert money.reached.is_set()
    assert money.why == "the budget of client nightly, 3 USD a day (UTC), is spent"


cents = st.integers(0, 300).map(lambda n: Decimal(n) / 100)


@given(st.lists(st.tuples(cents, cents)), cents)
def test_run_never_costs_more_than_its_limit(lines: list[tuple[Decimal, Decimal]], limit: Decimal) -> None:
    """As long as no line costs more than its estimate."""
    money = Budget(max_cost_usd=limit, spent=NOTHING)
    in_flight: list[tuple[str, Decimal]] = []
    for number, (estimate, share) in enumerate(lines):
        if money.reserve(str(number), estimate):
            in_flight.append((str(number), min(estimate, share)))
        elif in_flight:
            job_id, usd = in_flight.pop(0)
            money.settle(job_id, JobCost(usd, 0))
    for job_id, usd in in_flight:
        money.settle(job_id, JobCost(usd, 0))
    assert money.counted_usd <= limit


@pytest.mark.parametrize("usd", ["0", "1"])
def test_released_money_can_be_spent(usd: str) -> None:
    """A line that the producer rejected costs nothing."""
    money = budget("1")
    money.reserve("a", ONE)
    money.release("a")
    assert money.reserve("b", Decimal(usd))


async def test_what_is_freed_before_the_wait_ends_it() -> None:
    """The last running call may settle between a line that did not fit and the wait for a change."""
    money = budget("1")
    assert money.reserve("a", ONE)
    assert not money.reserve("b", ONE)
    money.release("a")
    async with asyncio.timeout(5):
        await money.changed()
    assert money.reserve("b", ONE)
