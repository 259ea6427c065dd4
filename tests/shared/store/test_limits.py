"""Requests and tokens a minute: what a claim lets through, what a call is booked with, how it is settled."""

from __future__ import annotations

import random
from collections.abc import Sequence

import orjson
import pytest

from shared.store.limits import EPOCH_S
from tests.shared.store.conftest import Bench


def most_in_a_window(times: Sequence[float], width_s: float) -> int:
    """The largest number of entries in any window of that width."""
    first = most = 0
    for last, at in enumerate(times):
        while at - times[first] >= width_s:
            first += 1
        most = max(most, last - first + 1)
    return most


async def grants_in(
    bench: Bench, seconds: float, *, rng: random.Random, longest_step_s: float
) -> list[float]:
    """When calls are granted while a worker looks again and again, in order."""
    times: list[float] = []
    until = bench.passed_s + seconds
    while bench.passed_s < until:
        times += [bench.granted_at(grant) for grant in await bench.claim(100)]
        bench.let_time_pass(rng.uniform(0.01, longest_step_s))
    return times


@pytest.mark.parametrize(("rpm", "slice_ms"), [(60, 500), (300, 500), (300, 3000)])
async def test_no_window_holds_more_than_its_share(new_bench: Bench, rpm: int, slice_ms: int) -> None:
    """Over 60 s never more than the limit, over 1 and 10 s one slice more; and hardly less is let through."""
    await new_bench.limits.set("account:p", {"rpm": rpm, "slice_ms": slice_ms})
    await new_bench.submit(*(f"j{n}" for n in range(rpm + 60)))
    times = await grants_in(new_bench, 62, rng=random.Random(rpm), longest_step_s=0.24)
    slack = max(1, rpm * slice_ms / 60_000)
    assert most_in_a_window(times, 60) <= rpm
    assert all(most_in_a_window(times, w) <= rpm * w / 60 + slack for w in (1, 10))
    assert len(times) >= 0.97 * rpm


async def test_no_window_holds_more_tokens_than_the_limit(new_bench: Bench) -> None:
    """Calls larger than a slice go one by one, at the rate of their tokens."""
    await new_bench.limits.set("account:p", {"tpm": 30_000})
    await new_bench.submit(*(f"j{n}" for n in range(50)), prompt_tokens=500, output_tokens=500)
    times = await grants_in(new_bench, 62, rng=random.Random(1), longest_step_s=0.24)
    assert most_in_a_window(times, 60) <= 30
    assert most_in_a_window(times, 10) <= 6
    assert len(times) >= 30


@pytest.mark.parametrize(("slice_ms", "burst"), [(500, 5), (100, 1), (10_000, 100)])
async def test_burst_after_a_rest_is_a_slice(bench: Bench, slice_ms: int, burst: int) -> None:
    """Nothing is saved up while nothing is sent, nor is a cold start a full minute's worth."""
    await bench.limits.set("account:p", {"rpm": 600, "slice_ms": slice_ms})
    await bench.submit(*(f"j{n}" for n in range(300)))
    cold = len(await bench.claim(100))
    bench.let_time_pass(300)
    rested = len(await bench.claim(100))
    assert max(1, 0.7 * burst) <= cold <= burst
    assert max(1, 0.7 * burst) <= rested <= burst


async def test_call_larger_than_a_slice_needs_half_of_it(bench: Bench) -> None:
    """It is let through once half a slice is paid off: the other half absorbs a claim that comes late."""
    await bench.limits.set("account:p", {"rpm": 60})
    await bench.submit("a", "b", queue="p.interactive")
    assert len(await bench.claim()) == 1
    bench.let_time_pass(0.70)  # a request costs 60.5 s / 60 = 1.008 s: 0.3 s are not paid off
    claimed = await bench.look()
    assert claimed.grants == []
    assert claimed.look_again_s == pytest.approx(0.058, abs=0.02)
    bench.let_time_pass(0.07)
    assert len(await bench.claim()) == 1


async def test_over_run_becomes_debt(bench: Bench) -> None:
    """An answer longer than was booked is paid off before the next call."""
    await bench.limits.set("account:p", {"tpm": 60_000})
    await bench.submit("a", "b")
    (grant,) = await bench.claim(1)
    await bench.answer(grant, prompt=10, output=30_000)
    bench.let_time_pass(28)
    assert await bench.claim() == []
    bench.let_time_pass(3)
    assert len(await bench.claim()) == 1


async def test_debt_is_never_forgiven(bench: Bench) -> None:
    """More than three minutes' worth is three minutes, and not a clock that jumped."""
    await bench.limits.set("account:p", {"tpm": 1000})
    await bench.submit("a", "b")
    (grant,) = await bench.claim(1)
    await bench.answer(grant, prompt=10, output=5000)
    bench.let_time_pass(175)
    assert await bench.claim() == []
    bench.let_time_pass(10)
    assert len(await bench.claim()) == 1


async def test_unused_tokens_are_refunded(bench: Bench) -> None:
    """A short answer lets the next call go at once."""
    await bench.limits.set("account:p", {"tpm": 60_000})
    await bench.submit("a", "b", output_tokens=20_000)
    (grant,) = await bench.claim()
    assert await bench.claim() == []
    await bench.answer(grant, prompt=10, output=100)
    assert len(await bench.claim()) == 1


async def test_refund_is_no_credit(bench: Bench) -> None:
    """What was paid off meanwhile is not saved up: the ledger never stands before the present."""
    await bench.limits.set("account:p", {"tpm": 60_000})
    await bench.submit("a", output_tokens=20_000)
    (grant,) = await bench.claim()
    bench.let_time_pass(15)
    await bench.answer(grant, prompt=10, output=100)
    seconds, microseconds = bench.raw.time()
    now_ms = (seconds - EPOCH_S) * 1000 + microseconds / 1000
    assert bench.state("account:p")["tokens_at"] == pytest.approx(now_ms, abs=100)


async def test_turned_away_call_gets_its_tokens_back(bench: Bench) -> None:
    """A 429 drew nothing."""
    await bench.limits.set("account:p", {"tpm": 60_000})
    await bench.submit("a", "b", output_tokens=20_000)
    (grant,) = await bench.claim()
    shown = bench.shown(grant, "limited")
    await bench.give_back(grant, "rate_limited", gives_attempt_back=True, shown=shown)
    assert len(await bench.claim(1)) == 1


async def test_failed_call_keeps_its_tokens(bench: Bench) -> None:
    """A call that broke off may have been billed."""
    await bench.limits.set("account:p", {"tpm": 60_000})
    await bench.submit("a", "b", output_tokens=20_000)
    await bench.fail(*await bench.claim())
    assert await bench.claim() == []


async def test_call_beyond_a_minute_is_still_let_through(bench: Bench) -> None:
    """It is booked with a minute's allowance at most; what is over is settled as debt."""
    await bench.limits.set("account:p", {"tpm": 1000})
    await bench.submit("a", prompt_tokens=100_000)
    (grant,) = await bench.claim()
    assert 980 <= grant.reserved <= 1000


@pytest.mark.parametrize("scope", ["account:p", "model:p/m", "client:c"])
async def test_small_limit_holds_large_calls(bench: Bench, scope: str) -> None:
    """Whoever's limit is less than a call: a minute's allowance is booked, and the next one waits for it."""
    await bench.limits.set(scope, {"tpm": 100})
    await bench.submit("a", "b", client="c", prompt_tokens=1000)
    assert len(await bench.claim()) == 1
    bench.let_time_pass(50)
    assert await bench.claim() == []
    bench.let_time_pass(12)
    assert len(await bench.claim()) == 1


@pytest.mark.parametrize(
    ("charge", "output", "reserved"),
    [
        ("prompt+max", 1000, 1100),
        ("prompt+max", 0, 356),
        ("max(prompt,max)", 1000, 1000),
        ("max(prompt,max)", 50, 100),
        ("max(prompt,max)", 0, 256),
        ("prompt_then_output", 1000, 356),
        ("prompt_then_output", 50, 150),
        ("prompt_then_output", 0, 356),
    ],
)
async def test_call_is_booked_as_its_account_charges(
    bench: Bench, charge: str, output: int, reserved: int
) -> None:
    """100 tokens of prompt, and an answer of unknown length taken for 256."""
    bench.raw.hset("chatq:limits", "account:p", orjson.dumps({"file": {"tpm": 10**9, "charge": charge}}))
    await bench.submit("a", prompt_tokens=100, output_tokens=output)
    (grant,) = await bench.claim()
    assert grant.reserved == reserved


@pytest.mark.parametrize(("charge", "wait_s"), [("prompt+max", 30), ("max(prompt,max)", 20)])
async def test_call_is_settled_as_its_account_charges(bench: Bench, charge: str, wait_s: float) -> None:
    """20,000 tokens of prompt and 10,000 of answer at 60,000 a minute."""
    bench.raw.hset("chatq:limits", "account:p", orjson.dumps({"file": {"tpm": 60_000, "charge": charge}}))
    await bench.submit("a", "b")
    (grant,) = await bench.claim(1)
    await bench.answer(grant, prompt=20_000, output=10_000)
    claimed = await bench.look()
    assert claimed.look_again_s == pytest.approx(wait_s, rel=0.03)


async def test_usual_answer_is_mean_and_deviation(bench: Bench) -> None:
    """Answers of 100 and 300 tokens: an answer of unknown length is booked with 200 + 100."""
    await bench.submit("a", "b", "c", output_tokens=0)
    short, long = await bench.claim(2)
    await bench.answer(short, prompt=10, output=100)
    await bench.answer(long, prompt=10, output=300)
    assert bench.state("model:p/m")["output_mean"] == pytest.approx(200)
    (grant,) = await bench.claim()
    assert grant.reserved == 12 + 300


async def test_sizes_are_learned_alike_in_groups(bench: Bench) -> None:
    """Answers settled together teach the same as one by one."""
    await bench.submit("a", "b")
    await bench.submit("c", "d", model="other")
    a, b, c, d = await bench.claim()
    await bench.answer(a, prompt=10, output=100)
    await bench.answer(b, prompt=10, output=300)
    await bench.answer(c, d, prompt=10, output=200)
    apart, together = bench.state("model:p/m"), bench.state("model:p/other")
    assert apart["output_mean"] == pytest.approx(together["output_mean"])
    assert apart["prompt_ratio"] == pytest.approx(together["prompt_ratio"])


async def test_new_sizes_count_a_twentieth(bench: Bench) -> None:
    """After twenty answers one more moves the mean by 5 %."""
    await bench.submit(*(f"j{n}" for n in range(21)))
    *many, last = await bench.claim(21)
    await bench.answer(*many, prompt=10, output=100)
    await bench.answer(last, prompt=10, output=200)
    assert bench.state("model:p/m")["output_mean"] == pytest.approx(105)


async def test_prompts_are_booked_as_the_provider_counts(bench: Bench) -> None:
    """Twice the estimate where it counts twice as much, and 15 % more: what is learned is a mean."""
    await bench.submit("a", "b", prompt_tokens=100, output_tokens=50)
    (grant,) = await bench.claim(1)
    await bench.answer(grant, prompt=200, output=50)
    (grant,) = await bench.claim()
    assert grant.reserved == 230 + 50


async def test_models_learn_apart(bench: Bench) -> None:
    """What one model showed says nothing of another."""
    await bench.submit("a", output_tokens=0)
    await bench.submit("b", model="other", output_tokens=0)
    (grant,) = await bench.claim(1)
    await bench.answer(grant, prompt=100, output=5000)
    (grant,) = await bench.claim()
    assert grant.reserved == 10 + 256


async def test_clock_that_jumped_back_freezes_nothing(bench: Bench) -> None:
    """Times further ahead than any debt are not believed."""
    await bench.limits.set("account:p", {"rpm": 60, "tpm": 6000})
    seconds, _ = bench.raw.time()
    ahead_ms = (seconds - EPOCH_S + 600) * 1000
    bench.raw.set(
        "chatq:scope:account:p", orjson.dumps({"requests_at": ahead_ms, "tokens_at": ahead_ms}), ex=60
    )
    await bench.submit("a")
    assert len(await bench.claim()) == 1


@pytest.mark.parametrize(
    "state", ["x", "[]", "null", '{"requests_at": "x", "factor": {}}', '{"requests_at": 1e300}']
)
async def test_broken_state_stops_nothing(bench: Bench, state: str) -> None:
    """Anybody can write to Redis: what is no state is taken for none."""
    await bench.limits.set("account:p", {"rpm": 60})
    bench.raw.set("chatq:scope:account:p", state, ex=60)
    await bench.submit("a")
    assert len(await bench.claim()) == 1


async def test_lanes_share_a_rate_by_tokens(new_bench: Bench) -> None:
    """70 : 25 : 5 in what calls cost, whatever their sizes."""
    await new_bench.limits.set("account:p", {"tpm": 600_000})
    sizes = {"interactive": 4000, "default": 1000, "batch": 500}
    for lane, tokens in sizes.items():
        ids = (f"{lane}{n}" for n in range(100))
        await new_bench.submit(*ids, queue=f"p.{lane}", prompt_tokens=tokens - 10)
    drawn = dict.fromkeys(sizes, 0)
    for _ in range(300):
        for grant in await new_bench.claim(20):
            drawn[grant.queue.removeprefix("p.")] += grant.reserved
        new_bench.let_time_pass(0.1)
    shares = {lane: tokens / sum(drawn.values()) for lane, tokens in drawn.items()}
    assert shares == pytest.approx({"interactive": 0.70, "default": 0.25, "batch": 0.05}, abs=0.03)
