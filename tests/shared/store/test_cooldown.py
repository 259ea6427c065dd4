"""Limits that the upstream tells: waits, cuts and the way back up, limits stated in errors and headers."""

from __future__ import annotations

import pytest

from shared.observed_limits import ObservedLimits
from shared.store.call_result import Blame
from shared.store.grants import Grant
from tests.shared.store.conftest import Bench


def rate(wait_s: float | None = None, **more: object) -> Blame:
    return Blame("account", "rate", wait_s=wait_s, **more)  # type: ignore[arg-type]


async def closed_for(bench: Bench, provider: str = "q") -> float:
    """Seconds until the provider's account lets a call through again; 0 = it does now."""
    claimed = await bench.look(0, load=[provider])
    return claimed.look_again_s or 0


async def start(bench: Bench, n: int = 60, want: int = 20) -> list[Grant]:
    """Calls of an account of which nothing is known."""
    await bench.submit(*(f"j{i}" for i in range(n)), queue="q.default")
    return await bench.claim(want, load=["q"])


async def test_stated_wait_is_waited_whole(bench: Bench) -> None:
    """By everybody, and not longer."""
    first, *others = await start(bench)
    await bench.limit(first, rate(7))
    await bench.answer(*others)
    assert await closed_for(bench) == pytest.approx(7, abs=0.1)
    bench.let_time_pass(6.8)
    assert await bench.claim(load=["q"], worker=bench.worker("w2")) == []
    bench.let_time_pass(0.3)
    assert len(await bench.claim(load=["q"])) > 0


async def test_wait_is_never_shortened(bench: Bench) -> None:
    """A smaller wait that comes later changes nothing, a longer one prolongs."""
    first, second, third, *_ = await start(bench)
    await bench.limit(first, rate(20))
    await bench.limit(second, rate(5))
    assert await closed_for(bench) == pytest.approx(20, abs=0.1)
    await bench.limit(third, rate(30))
    assert await closed_for(bench) == pytest.approx(30, abs=0.1)


async def test_very_long_wait_is_believed(bench: Bench) -> None:
    """Doubling stops at a minute, what is stated does not."""
    first, *_ = await start(bench)
    await bench.limit(first, rate(3600))
    assert await closed_for(bench) == pytest.approx(3600, abs=0.1)


async def test_storm_cuts_once(bench: Bench) -> None:
    """Refusals of calls sent before the closure are one episode: 20 calls become 16."""
    for grant in await start(bench):
        await bench.limit(grant, rate(2))
    assert bench.state("account:q")["adaptive"] == pytest.approx(16)
    assert bench.state("account:q")["strikes"] == 1


async def test_limit_right_after_the_wait_doubles_it(bench: Bench) -> None:
    """It proved too short; each new episode cuts again."""
    first, *others = await start(bench)
    await bench.limit(first, rate(4))
    await bench.settle(others, [b""] * len(others))
    bench.let_time_pass(4.1)
    second, *_ = await bench.claim(load=["q"])
    await bench.limit(second, rate(4))
    assert await closed_for(bench) == pytest.approx(8, abs=0.1)
    assert bench.state("account:q")["adaptive"] < 16


async def test_wait_of_nothing_is_a_tenth_of_a_second(bench: Bench) -> None:
    """Some providers say 0: the next try would be refused as well."""
    first, *_ = await start(bench)
    await bench.limit(first, rate(0))
    assert await closed_for(bench) == pytest.approx(0.1, abs=0.05)


async def test_unstated_wait_doubles_in_its_range(bench: Bench) -> None:
    """From the provider's own first wait to its longest."""
    (grant, *_) = await start(bench, want=1)
    waits = []
    for _ in range(4):
        await bench.limit(grant, rate(None, own_wait_s=(2.0, 10.0)))
        waits.append(await closed_for(bench))
        bench.let_time_pass(waits[-1] + 0.1)
        (grant,) = await bench.claim(1, load=["q"])
    assert waits == pytest.approx([2, 4, 8, 10], abs=0.1)


async def test_good_answer_ends_the_doubling(bench: Bench) -> None:
    """Of a call sent after the closure."""
    first, *others = await start(bench)
    await bench.limit(first, rate(4))
    await bench.answer(*others)
    bench.let_time_pass(4.1)
    good, again = await bench.claim(2, load=["q"])
    await bench.answer(good)
    await bench.limit(again, rate(4))
    assert await closed_for(bench) == pytest.approx(4, abs=0.1)


async def test_old_good_answers_forgive_nothing(bench: Bench) -> None:
    """They were sent before the limit was met."""
    first, second, *_ = await start(bench)
    await bench.limit(first, rate(4))
    await bench.answer(second)
    assert bench.state("account:q")["strikes"] == 1


async def test_cut_account_rests_before_it_grows(bench: Bench) -> None:
    """Nothing for 15 s, then 5 % a round."""
    first, *others = await start(bench, n=120)
    await bench.limit(first, rate(1))
    await bench.answer(*others)
    bench.let_time_pass(2)
    grants = await bench.claim(60, load=["q"])
    assert len(grants) == 16
    await bench.answer(*grants)
    assert bench.state("account:q")["adaptive"] == pytest.approx(16)
    bench.let_time_pass(15)
    await bench.answer(*await bench.claim(60, load=["q"]))
    assert bench.state("account:q")["adaptive"] == pytest.approx(16.8)


async def test_limited_rate_is_cut_and_recovers(bench: Bench) -> None:
    """×0.8 for a limit that proved too high; 5 points back in 10 s of good answers."""
    await bench.limits.set("account:q", {"rpm": 600})
    first, *_ = await start(bench, want=2)
    await bench.limit(first, rate(1))
    assert bench.state("account:q")["factor"] == pytest.approx(0.8)
    for _ in range(2):
        bench.let_time_pass(16)
        await bench.answer(*await bench.claim(1, load=["q"]))
    assert 0.84 < bench.state("account:q")["factor"] <= 0.90
    for _ in range(8):
        bench.let_time_pass(10)
        await bench.answer(*await bench.claim(1, load=["q"]))
    assert "factor" not in bench.state("account:q")


async def test_cut_rate_lets_less_through(bench: Bench) -> None:
    """600 a minute cut to 480."""
    await bench.limits.set("account:q", {"rpm": 600, "slice_ms": 10_000})
    first, *_ = await start(bench, n=300, want=1)
    await bench.limit(first, rate(1))
    bench.let_time_pass(30)
    assert 60 <= len(await bench.claim(200, load=["q"])) <= 80


@pytest.mark.parametrize(
    ("dimension", "field"),
    [("requests", "stated_rpm"), ("tokens", "stated_tpm"), ("concurrency", "stated_concurrency")],
)
async def test_stated_limit_is_taken(bench: Bench, dimension: str, field: str) -> None:
    """An error that names its limit teaches it at once, and nothing is cut besides."""
    first, *_ = await start(bench)
    await bench.limit(first, rate(1, dimension=dimension, limit=12))
    state = bench.state("account:q")
    assert (state[field], state.get("adaptive"), state.get("factor")) == (12, None, None)


async def test_stated_limit_above_ours_only_cuts(bench: Bench) -> None:
    """What the operator stated is lower already."""
    await bench.limits.set("account:q", {"rpm": 60})
    first, *_ = await start(bench, want=1)
    await bench.limit(first, rate(1, dimension="requests", limit=500))
    assert "stated_rpm" not in bench.state("account:q")
    assert bench.state("account:q")["factor"] == pytest.approx(0.8)


async def observe(bench: Bench, grant: Grant, *observed: int | None) -> None:
    await bench.settle([grant], [bench.shown(grant, observed=ObservedLimits(*observed))])


async def test_headers_state_lower_limits(bench: Bench) -> None:
    """Believed as far as they are lower than the operator's."""
    await bench.limits.set("account:q", {"rpm": 600, "tpm": 10**6})
    first, *_ = await start(bench, want=1)
    await observe(bench, first, 60, None, 2 * 10**6, None)
    state = bench.state("account:q")
    assert (state.get("stated_rpm"), state.get("stated_tpm")) == (60, None)


async def test_headers_correct_a_wrong_limit(bench: Bench) -> None:
    """An error's limit that turns out too low is replaced by what good answers say."""
    first, second, *_ = await start(bench)
    await bench.limits.set("account:q", {"rpm": 600})
    await bench.limit(first, rate(1, dimension="requests", limit=2))
    assert bench.state("account:q")["stated_rpm"] == 2
    await observe(bench, second, 300, None, None, None)
    assert bench.state("account:q")["stated_rpm"] == 300


async def test_headers_free_what_an_error_lowered(bench: Bench) -> None:
    """Limits as high as the operator's need no word of their own."""
    await bench.limits.set("account:q", {"rpm": 600})
    first, *_ = await start(bench, want=1)
    bench.raw.set("chatq:scope:account:q", '{"stated_rpm": 2}', ex=60)
    await observe(bench, first, 600, None, None, None)
    assert "stated_rpm" not in bench.state("account:q")


async def test_remaining_allowance_holds_back(bench: Bench) -> None:
    """None left at the provider: we wait although we have counted less, for other users of the key."""
    await bench.limits.set("account:q", {"rpm": 60, "slice_ms": 10_000})
    first, *_ = await start(bench, want=1)
    await observe(bench, first, None, 0, None, None)
    assert await bench.claim(load=["q"]) == []


async def test_remaining_allowance_never_raises_ours(bench: Bench) -> None:
    """The provider may count otherwise; what we have booked stays booked."""
    await bench.limits.set("account:q", {"rpm": 60})
    first, *_ = await start(bench, want=1)
    await observe(bench, first, None, 1000, None, None)
    assert await bench.claim(load=["q"]) == []


async def test_blamed_model_alone_is_closed(bench: Bench) -> None:
    """A model with limits of its own waits by itself; its account goes on."""
    await bench.limits.set("model:p/m", {"rpm": 600})
    await bench.submit("a", "b")
    await bench.submit("c", model="other")
    (grant,) = await bench.claim(1)
    await bench.limit(grant, Blame("model", "rate", wait_s=10))
    assert [g.job_id for g in await bench.claim()] == ["c"]


async def test_limit_of_a_model_belongs_to_who_has_limits(bench: Bench) -> None:
    """Where the operator stated the account's limits alone, they are what ran out."""
    await bench.submit("a", "b")
    await bench.submit("c", model="other")
    (grant,) = await bench.claim(1)
    await bench.limit(grant, Blame("model", "rate", wait_s=10))
    assert await bench.claim() == []
    assert "closed_until" in bench.state("account:p")


async def test_blamed_provider_is_closed_for_all_its_accounts(bench: Bench) -> None:
    """A server that asks for quiet speaks of itself; another provider of the account goes on."""
    bench.raw.hset("chatq:accounts", mapping={"slow": "shared", "fast": "shared"})
    await bench.submit("a", "b", queue="slow.default")
    await bench.submit("c", queue="fast.default")
    (grant,) = await bench.claim(1, load=["slow"])
    await bench.limit(grant, Blame("provider", "rate", wait_s=10))
    assert [g.job_id for g in await bench.claim(load=["slow", "fast"])] == ["c"]


async def test_limit_gives_the_attempt_back(bench: Bench) -> None:
    """Waiting is no failure, and is counted apart; the job is first in line again."""
    await bench.submit("a", "b")
    (grant,) = await bench.claim(1)
    assert await bench.limit(grant, rate(1)) == "ok"
    bench.let_time_pass(1.1)
    (again,) = await bench.claim(1)
    assert (again.job_id, again.attempts, again.rate_limit_waits) == ("a", 1, 1)
