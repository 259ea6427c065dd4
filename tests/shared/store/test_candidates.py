"""What is known of candidates: whether they take calls, how long these take, when one more would be done."""

from __future__ import annotations

import pytest

from shared.job import Candidate, Lane
from shared.store.call_result import Blame
from shared.store.candidates import CandidateState, read_candidates
from tests.shared.store.conftest import Bench

HERE = Candidate("p", "m")


async def state_of(bench: Bench, candidate: Candidate = HERE, lane: Lane = Lane.DEFAULT) -> CandidateState:
    return (await read_candidates(bench.store, [candidate], lane=lane))[candidate]


async def answered_after(bench: Bench, *seconds: float) -> None:
    """One call after the other that took so long."""
    for n, took_s in enumerate(seconds):
        await bench.submit(f"{bench.claims}-{n}")
        (grant,) = await bench.claim(1)
        bench.let_time_pass(took_s)
        await bench.answer(grant, prompt=10, output=10)


async def test_unknown_candidate_takes_calls(bench: Bench) -> None:
    """Nothing speaks against it, and nothing is known of its pace."""
    assert await state_of(bench, Candidate("new", "x")) == (0.0, None, None)


async def test_usual_time_is_a_median(bench: Bench) -> None:
    """One slow call among many hardly moves it."""
    await answered_after(bench, *[2.0] * 8, 60.0)
    usual_s = (await state_of(bench)).usual_s
    assert usual_s is not None
    assert 1.5 < usual_s < 2.7


async def test_usual_time_follows(bench: Bench) -> None:
    """A model that became slow is known as slow after some dozens of calls."""
    await answered_after(bench, *[1.0] * 3, *[10.0] * 60)
    assert ((await state_of(bench)).usual_s or 0) > 5


async def test_open_breaker_says_when_it_lets_go(bench: Bench) -> None:
    bench.set_policy(min_calls=1, open_ms=20_000)
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.fail(grant)
    assert (await state_of(bench)).opens_in_s == pytest.approx(20, abs=1)


async def test_cooldown_of_the_account_counts(bench: Bench) -> None:
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.limit(grant, Blame("account", "rate", 30.0))
    assert (await state_of(bench)).opens_in_s == pytest.approx(30, abs=1)


async def test_finish_counts_what_waits_before_it(bench: Bench) -> None:
    """Thirty jobs at one a second; what is less urgent does not stand in the way."""
    await answered_after(bench, 2.0)
    bench.raw.delete(*bench.raw.keys("chatq:minute:*"))
    await bench.limits.set("account:p", {"rpm": 60, "concurrency": 0})
    bench.let_time_pass(60)
    await bench.submit(*(f"w{n}" for n in range(30)), queue="p.default")
    await bench.submit(*(f"b{n}" for n in range(500)), queue="p.batch")
    finish_s = (await state_of(bench)).finish_in_s
    assert finish_s is not None
    assert 30 < finish_s < 36
    assert ((await state_of(bench, lane=Lane.INTERACTIVE)).finish_in_s or 99) < 5


async def test_broken_state_costs_only_its_own_candidate(bench: Bench) -> None:
    bench.raw.set("rq:queue:p.default", "no list")
    found = await read_candidates(bench.store, [HERE, Candidate("q", "m")], lane=Lane.DEFAULT)
    assert list(found) == [Candidate("q", "m")]


async def test_many_are_read(bench: Bench) -> None:
    """More than one script reads at once."""
    wanted = [Candidate("p", f"m{n}") for n in range(120)]
    assert len(await read_candidates(bench.store, wanted, lane=Lane.BATCH)) == 120
