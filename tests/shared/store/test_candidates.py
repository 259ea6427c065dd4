"""What is known of candidates: whether they take calls, how long these take, when one more would be done."""

from __future__ import annotations

import orjson
import pytest

from shared.job import Candidate, Lane
from shared.store.call_result import Blame, Verdict
from shared.store.candidates import CandidateState, read_candidates
from shared.store.grants import Routed
from tests.shared.store.conftest import Bench

HERE = Candidate("p", "m")


async def state_of(bench: Bench, candidate: Candidate = HERE) -> CandidateState:
    return (await read_candidates(bench.store, [candidate]))[candidate]


async def finish_in(bench: Bench, lane: Lane = Lane.DEFAULT, candidate: Candidate = HERE) -> float:
    return (await state_of(bench, candidate)).finish_in_s[lane]


async def answered_after(bench: Bench, *seconds: float) -> None:
    """One call after the other that took so long."""
    for n, took_s in enumerate(seconds):
        await bench.submit(f"{bench.claims}-{n}")
        (grant,) = await bench.claim(1)
        bench.let_time_pass(took_s)
        await bench.answer(grant, prompt=10, output=10)


async def rated_after(bench: Bench, seconds: float) -> None:
    """A selector's call, after which its job goes elsewhere."""
    await bench.submit(f"r{bench.claims}")
    (grant,) = await bench.claim(1)
    bench.let_time_pass(seconds)
    route = orjson.dumps([["q", "target", 10, 10]])
    await bench.worker().route([Routed(grant, grant.info, route, b"", bench.shown(grant))], retry_s=5)


async def test_unknown_candidate_takes_calls(bench: Bench) -> None:
    """Nothing speaks against it; calls of a second are assumed, as many at a time as a new account starts with."""
    state = await state_of(bench, Candidate("new", "x"))
    assert state[:5] == (False, 0.0, None, False, pytest.approx(1 / 20))
    assert state.finish_in_s == dict.fromkeys(Lane, pytest.approx(1))


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


async def test_ratings_teach_no_usual_time(bench: Bench) -> None:
    """They are short, and say nothing of how long a model's answers take."""
    await rated_after(bench, 0.1)
    assert (await state_of(bench)).usual_s is None
    await answered_after(bench, 8.0)
    for _ in range(5):
        await rated_after(bench, 0.1)
    assert (await state_of(bench)).usual_s == pytest.approx(8, abs=0.5)


async def test_open_breaker_says_when_it_lets_go(bench: Bench) -> None:
    """While it tries again it is not open, and lets few through."""
    bench.set_policy(min_calls=1, open_ms=20_000)
    await answered_after(bench, 2.0)
    await bench.submit("a")
    await bench.fail(*await bench.claim())
    state = await state_of(bench)
    assert (state.is_open, state.opens_in_s) == (True, pytest.approx(20, abs=1))
    bench.let_time_pass(20)
    state = await state_of(bench)
    assert (state.is_open, state.opens_in_s) == (False, 0.0)
    assert state.further_s == pytest.approx(2 / 3, abs=0.2)


async def test_cooldown_of_the_account_counts(bench: Bench) -> None:
    """It says when it is over, which a breaker does not."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.limit(grant, Blame("account", "rate", 30.0))
    state = await state_of(bench)
    assert (state.is_open, state.opens_in_s) == (False, pytest.approx(30, abs=1))
    assert state.finish_in_s[Lane.DEFAULT] > 30


async def test_what_never_answered_is_silent(bench: Bench) -> None:
    """Until it answers, or was left alone for some minutes."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.settle([grant], [bench.shown(grant, "refused", ended="unfit")], "failed")
    assert (await state_of(bench)).is_silent
    bench.let_time_pass(200)
    assert (await state_of(bench)).is_silent
    bench.let_time_pass(200)
    assert not (await state_of(bench)).is_silent


async def test_answer_ends_a_silence(bench: Bench) -> None:
    """A failure later on does not make it silent again: its pace is known."""
    await bench.submit("a")
    await bench.fail(*await bench.claim())
    assert (await state_of(bench)).is_silent
    await answered_after(bench, 1.0)
    assert not (await state_of(bench)).is_silent
    await bench.submit("b")
    await bench.fail(*await bench.claim())
    assert not (await state_of(bench)).is_silent


@pytest.mark.parametrize("verdict", ["limited", "dropped"])
async def test_call_that_could_not_be_answered_tells_nothing(bench: Bench, verdict: Verdict) -> None:
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.settle([grant], [bench.shown(grant, verdict, ended="x")], "failed")
    assert not (await state_of(bench)).is_silent


async def test_finish_counts_what_waits_before_it(bench: Bench) -> None:
    """Thirty jobs at one a second; what is less urgent does not stand in the way."""
    await answered_after(bench, 2.0)
    bench.raw.delete(*bench.raw.keys("chatq:minute:*"))
    await bench.limits.set("account:p", {"rpm": 60, "concurrency": 0})
    bench.let_time_pass(60)
    await bench.submit(*(f"w{n}" for n in range(30)), queue="p.default")
    await bench.submit(*(f"b{n}" for n in range(500)), queue="p.batch")
    state = await state_of(bench)
    assert state.further_s == pytest.approx(1, abs=0.1)
    assert 30 < state.finish_in_s[Lane.DEFAULT] < 36
    assert state.finish_in_s[Lane.INTERACTIVE] < 5
    assert state.finish_in_s[Lane.BATCH] > 500


async def test_finish_goes_by_limits_where_no_call_was_seen(bench: Bench) -> None:
    """Three hundred jobs at one a second take five minutes, whoever has answered so far."""
    await bench.limits.set("account:p", {"rpm": 60, "concurrency": 0})
    await bench.submit(*(f"w{n}" for n in range(300)))
    assert await finish_in(bench) == pytest.approx(300, rel=0.05)


async def test_finish_goes_by_tokens(bench: Bench) -> None:
    """A minute for as many answers of the usual length as the limit allows."""
    await answered_after(bench, 1.0)
    await bench.limits.set("account:p", {"tpm": 100, "concurrency": 0})
    await bench.submit(*(f"w{n}" for n in range(20)))
    assert await finish_in(bench) == pytest.approx(120, rel=0.1)


async def test_running_calls_hold_slots(bench: Bench) -> None:
    """Two slots with two calls of ten seconds: the next one goes after about one of them."""
    await answered_after(bench, 10.0)
    await bench.limits.set("account:p", {"concurrency": 2})
    await bench.submit("a", "b")
    assert len(await bench.claim(2)) == 2
    state = await state_of(bench)
    assert state.further_s == pytest.approx(5, abs=0.5)
    assert state.finish_in_s[Lane.INTERACTIVE] == pytest.approx(20, abs=1)


async def test_without_limits_calls_go_one_after_the_other(bench: Bench) -> None:
    """Where no answer tells how many go at a time."""
    await bench.limits.set("account:p", {"rpm": 0, "concurrency": 0})
    await bench.submit(*(f"w{n}" for n in range(10)))
    assert await finish_in(bench) == pytest.approx(11)


async def test_without_limits_the_pace_of_answers_counts(bench: Bench) -> None:
    """More calls at a time than one after the other."""
    await bench.limits.set("account:p", {"rpm": 0, "tpm": 100_000_000, "concurrency": 0})
    await bench.submit(*(f"a{n}" for n in range(100)))
    grants = await bench.claim(100)
    await bench.answer(*grants, prompt=1, output=1)
    await bench.limits.set("account:p", {"rpm": 0, "tpm": 0, "concurrency": 0})
    await bench.submit(*(f"w{n}" for n in range(100)))
    assert await finish_in(bench) < 20


async def test_broken_state_costs_only_its_own_candidate(bench: Bench) -> None:
    bench.raw.set("rq:queue:p.default", "no list")
    found = await read_candidates(bench.store, [HERE, Candidate("q", "m")])
    assert list(found) == [Candidate("q", "m")]


@pytest.mark.parametrize(
    "state", ["junk", '{"usual_ms":-1}', '{"silent_at":"x","factor":0}', '{"usual_ms":1e14}']
)
async def test_junk_in_a_state_breaks_nothing(bench: Bench, state: str) -> None:
    """Anybody can write to Redis."""
    await bench.limits.set("account:p", {"rpm": 60})
    bench.raw.set("chatq:scope:account:p", state, ex=100)
    bench.raw.set("chatq:scope:model:p/m", state, ex=100)
    assert await finish_in(bench) >= 1


async def test_many_are_read(bench: Bench) -> None:
    """More than one script reads at once."""
    wanted = [Candidate("p", f"m{n}") for n in range(120)]
    assert len(await read_candidates(bench.store, wanted)) == 120
