"""Whose job is next: clients share by tokens and weight, models at their limit do not stand in the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from shared.store.call_result import Blame
from shared.store.grants import Grant, Load
from tests.shared.store.conftest import Bench


def ids(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{i:03}" for i in range(n)]


def of(grants: Sequence[Grant]) -> Counter[str]:
    """How many grants each prefix got."""
    return Counter(grant.job_id[0] for grant in grants)


def assert_nothing_waits(bench: Bench, queue: str = "p.default") -> None:
    """Neither a job nor a count of one is left."""
    kinds = ("aside", "fair", "later", "tenants", "movable")
    assert [kind for kind in kinds if bench.raw.exists(f"chatq:{kind}:{queue}")] == []
    assert bench.raw.keys("chatq:lot:*") == []
    assert bench.raw.exists("chatq:payload") == 0


async def test_one_client_is_served_in_order(bench: Bench) -> None:
    """First in, first out, over all its models: nothing needs sorting."""
    for n, model in enumerate(("m", "n", "m", "o")):
        await bench.submit(f"j{n}", model=model)
    assert [g.job_id for g in await bench.claim(2)] == ["j0", "j1"]
    assert [g.job_id for g in await bench.claim(2)] == ["j2", "j3"]
    assert bench.raw.keys("chatq:lot:*") == []


async def test_late_client_is_served_beside_an_early_one(bench: Bench) -> None:
    """Not after the thousand jobs that came before."""
    await bench.submit(*ids("a", 300), client="a")
    await bench.submit(*ids("b", 20), client="b")
    assert of(await bench.claim(20)) == {"a": 10, "b": 10}


async def test_order_within_a_client_is_kept(bench: Bench) -> None:
    """Sorting changes nothing between jobs of one client and model."""
    await bench.submit(*ids("a", 40), client="a")
    await bench.submit(*ids("b", 40), client="b")
    served = [g.job_id for _ in range(8) for g in await bench.claim(10)]
    assert [i for i in served if i[0] == "a"] == ids("a", 40)
    assert [i for i in served if i[0] == "b"] == ids("b", 40)


async def test_clients_are_equal_in_tokens(bench: Bench) -> None:
    """Calls ten times as large get a tenth of the grants."""
    await bench.submit(*ids("a", 200), client="a", prompt_tokens=990)
    await bench.submit(*ids("b", 200), client="b", prompt_tokens=90)
    served = of([g for _ in range(11) for g in await bench.claim(10)])
    assert served["b"] == pytest.approx(100, abs=2)
    assert served["a"] == pytest.approx(10, abs=2)


async def test_clients_share_by_weight(bench: Bench) -> None:
    """Weight 3 gets three times the tokens of weight 1."""
    await bench.limits.set("client:a", {"weight": 3})
    await bench.submit(*ids("a", 200), client="a")
    await bench.submit(*ids("b", 200), client="b")
    served = of([g for _ in range(10) for g in await bench.claim(8)])
    assert served["a"] == pytest.approx(60, abs=2)


async def test_real_tokens_correct_the_shares(bench: Bench) -> None:
    """A client whose answers are longer than estimated gets fewer grants."""
    await bench.submit(*ids("a", 300), client="a", output_tokens=90)
    await bench.submit(*ids("b", 300), client="b", output_tokens=90)
    drawn: Counter[str] = Counter()
    for _ in range(30):
        for grant in await bench.claim(10):
            output = 390 if grant.job_id[0] == "a" else 90
            drawn[grant.job_id[0]] += 10 + output
            await bench.answer(grant, prompt=10, output=output)
    assert drawn["a"] / drawn.total() == pytest.approx(0.5, abs=0.05)


async def test_idle_client_saves_nothing_up(bench: Bench) -> None:
    """Who comes back gets its share from now on, not the past as well."""
    await bench.submit("a000", client="a")
    await bench.submit(*ids("b", 300), client="b")
    await bench.submit("c000", client="c")
    for _ in range(10):
        await bench.claim(20)
    await bench.submit(*ids("a", 100)[1:], client="a")
    assert of(await bench.claim(20))["a"] == pytest.approx(10, abs=1)


async def test_new_client_gets_its_share_after_a_long_rest(bench: Bench) -> None:
    """How far the others are is remembered as long as they wait, also when nothing was served for hours."""
    await bench.submit(*ids("a", 100), client="a")
    await bench.submit(*ids("b", 100), client="b")
    await bench.claim(60)
    bench.let_time_pass(2 * 3600)
    await bench.submit(*ids("c", 60), client="c")
    assert of(await bench.claim(30)) == pytest.approx({"a": 10, "b": 10, "c": 10}, abs=1)


async def test_models_of_a_client_share(bench: Bench) -> None:
    """Once sorted, none of its models starves another."""
    await bench.submit(*ids("m", 100), client="a", model="m")
    await bench.submit(*ids("n", 100), client="a", model="n")
    await bench.submit(*ids("b", 100), client="b")
    served = of(await bench.claim(60))
    assert served == pytest.approx({"m": 15, "n": 15, "b": 30}, abs=1)


async def test_model_at_its_limit_lets_others_pass(bench: Bench) -> None:
    """Its jobs stand in front, and are put aside."""
    await bench.limits.set("model:p/slow", {"concurrency": 1})
    await bench.submit(*ids("s", 50), model="slow")
    await bench.submit(*ids("m", 10))
    assert of(await bench.claim(11)) == {"s": 1, "m": 10}


async def test_closed_model_lets_others_pass(bench: Bench) -> None:
    """So do jobs of a model that waits out a limit; they come back in order."""
    await bench.limits.set("model:p/slow", {"rpm": 6000})
    await bench.submit(*ids("s", 5), model="slow")
    await bench.submit(*ids("m", 5))
    (grant,) = await bench.claim(1)
    await bench.limit(grant, Blame("model", "rate", wait_s=4))
    assert of(await bench.claim()) == {"m": 5}
    bench.let_time_pass(4.1)
    served = [g.job_id for _ in range(5) for g in await bench.claim(1)]
    assert served[0] == "s000"


async def test_client_at_its_limit_lets_others_pass(bench: Bench) -> None:
    """A client's own limit holds its jobs and nobody else's."""
    await bench.limits.set("client:a", {"concurrency": 2})
    await bench.submit(*ids("a", 50), client="a")
    await bench.submit(*ids("b", 50), client="b")
    assert of(await bench.claim(20)) == {"a": 2, "b": 18}


async def test_provider_at_its_limit_leaves_jobs_where_they_are(bench: Bench) -> None:
    """The next grant is the same job it would have been."""
    await bench.limits.set("account:p", {"concurrency": 1})
    await bench.submit(*ids("a", 3))
    (grant,) = await bench.claim()
    assert bench.raw.lrange("rq:queue:p.default", 0, -1) == ["a001", "a002"]
    await bench.answer(grant)
    assert [g.job_id for g in await bench.claim()] == ["a001"]


async def test_returned_job_is_first_in_its_lot(bench: Bench) -> None:
    """Given back while others wait sorted, it stands before those of its client and model."""
    await bench.submit(*ids("a", 20), client="a")
    await bench.submit(*ids("b", 20), client="b")
    grants = await bench.claim(4)
    mine = next(g for g in grants if g.job_id == "a001")
    await bench.give_back(mine, "drain", gives_attempt_back=True)
    served = [g.job_id for g in await bench.claim(4) if g.job_id[0] == "a"]
    assert served[0] == "a001"


async def test_ended_jobs_in_lots_are_passed_over(bench: Bench) -> None:
    """Cancelled ones are tombstones there as in the list; nothing of them remains."""
    await bench.submit(*ids("a", 20), client="a")
    await bench.submit(*ids("b", 20), client="b")
    first = await bench.claim(2)
    await bench.jobs.cancel(ids("a", 20)[5:] + ids("b", 20)[5:])
    rest = await bench.claim(40)
    assert len(rest) == 8
    await bench.answer(*first, *rest)
    await bench.claim()
    assert_nothing_waits(bench)


async def test_counters_return_to_nothing(bench: Bench) -> None:
    """After all was served, held, given back, moved and cancelled."""
    bench.serve("p.default", "fast.default")
    await bench.limits.set("model:p/slow", {"concurrency": 1})
    await bench.submit(*ids("s", 10), client="a", model="slow")
    await bench.submit(*ids("a", 10), client="a", fallbacks=[("fast", "m")])
    await bench.submit(*ids("b", 10), client="b")
    await bench.jobs.cancel(["b003", "s003"])
    kept: list[Grant] = []
    for n in range(60):
        for grant in await bench.claim(5, load=["p", "fast"]):
            if n < 3:
                moves = grant.job_id[0] == "a" and grant.queue == "p.default"
                await bench.give_back(grant, "next" if moves else "backoff", error=b"{}")
            else:
                await bench.answer(grant)
                kept.append(grant)
        bench.let_time_pass(1.1)
    assert len(kept) == 28
    assert_nothing_waits(bench)
    assert_nothing_waits(bench, "fast.default")


async def test_thousands_of_tombstones_hold_nobody_up(bench: Bench) -> None:
    """A claim looks at a bounded number of entries, and says that there is more."""
    await bench.submit(*ids("a", 900), client="a")
    await bench.submit(*ids("b", 900), client="b")
    await bench.jobs.cancel([*ids("a", 900)[:-1], *ids("b", 900)])
    claims = 0
    while True:
        claims += 1
        claimed = await bench.look()
        if claimed.grants:
            break
        assert claimed.has_more
    assert ([g.job_id for g in claimed.grants], claims <= 6) == (["a899"], True)


async def test_claim_tells_when_the_next_lot_opens(bench: Bench) -> None:
    """So that a worker sleeps until then, and not longer."""
    await bench.limits.set("model:p/m", {"rpm": 60})
    await bench.submit("a", "b")
    await bench.claim()
    claimed = await bench.look()
    assert claimed.grants == []
    assert claimed.look_again_s == pytest.approx(0.76, abs=0.05)


async def test_providers_fill_a_worker_evenly_whatever_is_held(bench: Bench) -> None:
    """Jobs that cannot go do not take the slots of those that can."""
    await bench.limits.set("account:slow", {"concurrency": 1})
    await bench.submit(*ids("s", 50), queue="slow.default")
    await bench.submit(*ids("f", 50), queue="fast.default")
    first = await bench.claim(20, load={"slow": Load(), "fast": Load()})
    second = await bench.claim(20, load={"slow": Load(1), "fast": Load(10)})
    assert of(first)["s"] == 1
    assert of(second) == {"f": 20}
