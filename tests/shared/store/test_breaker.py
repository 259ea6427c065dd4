"""The breaker: opens on failures, lets a few probes decide, and leads back in steps."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.store.call_result import Blame
from shared.store.grants import Grant
from tests.shared.store.conftest import Bench

MODEL = "model:p/m"


@pytest.fixture
async def busy(bench: Bench) -> AsyncIterator[Bench]:
    """Many jobs wait; it opens after 4 calls for 10 s, at most for 60 s, and lets 2 probes through."""
    bench.set_policy(min_calls=4, open_ms=10_000, max_open_ms=60_000, probes=2)
    await bench.submit(*(f"j{n:03}" for n in range(200)))
    yield bench


async def open_it(bench: Bench) -> None:
    await bench.fail(*await bench.claim(4))
    assert bench.state(MODEL)["breaker"] == "open"


async def probe(bench: Bench, after_s: float = 10.1, want: int = 10) -> list[Grant]:
    """The first calls after it was open."""
    bench.let_time_pass(after_s)
    return await bench.claim(want)


async def open_for(bench: Bench) -> float | None:
    """Seconds until jobs may go again."""
    claimed = await bench.look()
    assert claimed.grants == []
    return claimed.look_again_s


async def test_few_failures_open_nothing(busy: Bench) -> None:
    """Below the least number of calls a ratio says nothing."""
    await busy.fail(*await busy.claim(3))
    assert len(await busy.claim(1)) == 1


async def test_minority_of_failures_opens_nothing(busy: Bench) -> None:
    """Half of the calls is the bound."""
    grants = await busy.claim(7)
    await busy.answer(*grants[:4])
    await busy.fail(*grants[4:])
    assert len(await busy.claim(1)) == 1


async def test_ratio_opens(busy: Bench) -> None:
    """Half of enough calls failed: nothing goes for ten seconds, and workers know when to look again."""
    grants = await busy.claim(8)
    await busy.answer(*grants[:4])
    await busy.fail(*grants[4:])
    assert await open_for(busy) == pytest.approx(10, abs=0.1)
    assert busy.raw.hget("chatq:totals", "opened") == "1"


async def test_row_of_failures_opens_whatever_was_before(busy: Bench) -> None:
    """A server that went down is not asked until its good past is outweighed."""
    await busy.answer(*await busy.claim(50))
    for grant in await busy.claim(4):
        await busy.fail(grant)
    assert busy.state(MODEL)["breaker"] == "open"


async def test_old_failures_are_forgotten(busy: Bench) -> None:
    """Counted are those of one window, here ten seconds."""
    await busy.fail(*await busy.claim(3))
    await busy.answer(*await busy.claim(1))
    busy.let_time_pass(21)
    await busy.fail(*await busy.claim(2))
    assert len(await busy.claim(1)) == 1


async def test_failures_of_one_model_close_it_alone(busy: Bench) -> None:
    """Other models of the provider go on."""
    await busy.submit("other", model="other")
    await open_it(busy)
    assert [g.job_id for g in await busy.claim(100)] == ["other"]


async def test_blamed_provider_closes_all_its_models(busy: Bench) -> None:
    """A server that cannot be reached has no model that can."""
    await busy.submit("other", model="other")
    await busy.fail(*await busy.claim(4), blame=Blame("provider", "failure"))
    assert busy.state("provider:p")["breaker"] == "open"
    assert await busy.claim(100) == []


@pytest.mark.parametrize("verdict", ["refused", "limited"])
async def test_refusals_do_not_count(busy: Bench, verdict: str) -> None:
    """A bad request and a rate limit say nothing of the upstream's health."""
    grants = await busy.claim(10)
    await busy.settle(grants, [busy.shown(g, verdict) for g in grants], "failed")  # type: ignore[arg-type]
    assert len(await busy.claim(1)) == 1


async def test_few_probes_at_a_time_over_the_fleet(busy: Bench) -> None:
    """Permits are slots in Redis, whoever takes them."""
    await open_it(busy)
    first = await probe(busy, want=1)
    second = await busy.claim(10, worker=busy.worker("w2"))
    assert (len(first), len(second), await busy.claim(10)) == (1, 1, [])


async def test_dead_probers_permit_is_free_again(busy: Bench) -> None:
    """With its lease, when the rescuer takes the job back."""
    await open_it(busy)
    await probe(busy)
    assert await busy.claim() == []
    busy.let_time_pass(31)
    await busy.keeper().rescue()
    assert len(await busy.claim()) == 2


async def test_bad_probe_opens_twice_as_long(busy: Bench) -> None:
    """10 s, 20 s, 40 s, and never more than the cap."""
    await open_it(busy)
    waits: list[float | None] = []
    wait_s: float = 10
    for _ in range(4):
        first, *_ = await probe(busy, wait_s + 0.1)
        await busy.fail(first)
        waits.append(await open_for(busy))
        wait_s = waits[-1] or 0
        busy.expire_leases()
        await busy.keeper().rescue()
    assert waits == pytest.approx([20, 40, 60, 60], abs=0.1)


async def test_good_probes_lead_back_in_steps(busy: Bench) -> None:
    """Two probes, then 10, 25 and 50 % of the 40 calls before it opened, then all."""
    grants = await busy.claim(40)
    await busy.answer(*grants[:10])
    await busy.fail(*grants[10:])
    at_a_time = []
    for n in range(4):
        grants = await probe(busy, 10.1 if n == 0 else 0.1, want=60)
        at_a_time.append(len(grants))
        await busy.answer(*grants)
    assert at_a_time == [2, 4, 10, 20]
    assert "breaker" not in busy.state(MODEL)
    assert len(await busy.claim(60)) == 60


async def test_failures_on_the_way_back_open_again(busy: Bench) -> None:
    """A ramp is no less careful than the first opening, and longer closed."""
    await open_it(busy)
    await busy.answer(*await probe(busy))
    for _ in range(2):
        await busy.fail(*await probe(busy, 0.01))
    assert await open_for(busy) == pytest.approx(20, abs=0.1)


async def test_full_recovery_forgets_the_past(busy: Bench) -> None:
    """The next opening is a first one."""
    await open_it(busy)
    bad, *_ = await probe(busy)
    await busy.fail(bad)
    for n in range(10):
        await busy.answer(*await probe(busy, 20.1 if n == 0 else 0.1, want=5))
    assert "breaker" not in busy.state(MODEL)
    await open_it(busy)
    assert await open_for(busy) == pytest.approx(10, abs=0.1)


async def test_results_of_older_calls_do_not_count_in_probing(busy: Bench) -> None:
    """Calls sent before it opened say nothing about the probes; neither do they when settled together."""
    old = await busy.claim(20)
    await open_it(busy)
    first, second = await probe(busy)
    await busy.fail(*old[:5])
    await busy.answer(*old[5:10])
    assert busy.state(MODEL)["breaker"] == "half"
    shown = [busy.shown(old[10], "bad", blame=Blame("model", "failure")), busy.shown(first)]
    await busy.settle([old[10], first], shown)
    assert busy.state(MODEL)["breaker"] == "half"
    await busy.answer(second, *old[11:])
    assert busy.state(MODEL)["breaker"] == "ramp1"


async def test_late_failures_do_not_prolong(busy: Bench) -> None:
    """Open is open: what was in flight may fail as it likes."""
    old = await busy.claim(20)
    await open_it(busy)
    await busy.fail(*old)
    assert await open_for(busy) == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("kind", ["credentials", "quota"])
async def test_refused_key_opens_at_once(busy: Bench, kind: str) -> None:
    """For five minutes, and for the whole account."""
    (grant,) = await busy.claim(1)
    await busy.fail(grant, blame=Blame("account", kind))  # type: ignore[arg-type]
    assert await open_for(busy) == pytest.approx(300, abs=0.1)
    assert busy.state("account:p")["opened_why"] == kind


async def test_quota_that_names_its_reset_waits_for_it(busy: Bench) -> None:
    """An hour is an hour."""
    (grant,) = await busy.claim(1)
    await busy.fail(grant, blame=Blame("account", "quota", wait_s=3600))
    assert await open_for(busy) == pytest.approx(3600, abs=0.1)


async def test_open_is_never_shortened(busy: Bench) -> None:
    """A smaller wait that comes later does not open the door."""
    first, second = await busy.claim(2)
    await busy.fail(first, blame=Blame("account", "quota", wait_s=3600))
    await busy.fail(second, blame=Blame("account", "credentials"))
    assert await open_for(busy) == pytest.approx(3600, abs=0.1)


async def test_refused_keys_in_flight_are_one_opening(busy: Bench) -> None:
    """Twenty calls learn the same thing."""
    for grant in await busy.claim(20):
        await busy.fail(grant, blame=Blame("account", "credentials"))
    assert busy.raw.hget("chatq:totals", "opened") == "1"
    assert busy.state("account:p")["opens"] == 1


async def test_key_is_tried_with_one_call(busy: Bench) -> None:
    """A good answer closes it at once: a key works or does not."""
    (grant,) = await busy.claim(1)
    await busy.fail(grant, blame=Blame("account", "credentials"))
    (only,) = await probe(busy, 301)
    assert await busy.claim() == []
    await busy.answer(only)
    assert "breaker" not in busy.state("account:p")
    assert len(await busy.claim(20)) == 20


async def test_failing_server_proves_no_key(busy: Bench) -> None:
    """A 5xx to the one call that tries it says nothing of the key: the next one tries."""
    (grant,) = await busy.claim(1)
    await busy.fail(grant, blame=Blame("account", "credentials"))
    (only,) = await probe(busy, 301)
    await busy.fail(only)
    assert busy.state("account:p")["breaker"] == "half"
    assert len(await busy.claim()) == 1


async def test_lost_state_is_closed(busy: Bench) -> None:
    """It would open again by itself."""
    await open_it(busy)
    busy.raw.delete(f"chatq:scope:{MODEL}")
    busy.let_time_pass(10)
    assert len(await busy.claim()) == 10
