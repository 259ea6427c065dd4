"""Calls at the same time: slots are taken with a grant, and freed exactly once, however it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from shared.store.call_result import Blame
from shared.store.grants import Grant, Load
from tests.shared.store.conftest import Bench

SCOPES = ("account:p", "model:p/m", "client:c")


@pytest.mark.parametrize("scope", SCOPES)
async def test_no_more_calls_than_slots(bench: Bench, scope: str) -> None:
    """Over all workers; a freed slot is granted again."""
    await bench.limits.set(scope, {"concurrency": 3})
    await bench.submit(*(f"j{n}" for n in range(10)), client="c")
    first = await bench.claim(2)
    second = await bench.claim(5, worker=bench.worker("w2"))
    assert (len(first), len(second), bench.in_flight(scope)) == (2, 1, 3)
    assert await bench.claim() == []
    await bench.end(first[0])
    assert len(await bench.claim()) == 1


async def test_slots_count_over_the_providers_of_an_account(bench: Bench) -> None:
    """Two providers with one key draw on one account."""
    bench.raw.hset("chatq:accounts", mapping={"slow": "shared", "fast": "shared"})
    await bench.limits.set("account:shared", {"concurrency": 3})
    await bench.submit("a", "b", "c", queue="slow.default")
    await bench.submit("d", "e", "f", queue="fast.default")
    claimed = await bench.look(load={"slow": Load(), "fast": Load()})
    assert len(claimed.grants) == 3


async def _finalize(bench: Bench, grant: Grant) -> None:
    await bench.answer(grant)


async def _fail(bench: Bench, grant: Grant) -> None:
    await bench.fail(grant)


async def _back_off(bench: Bench, grant: Grant) -> None:
    await bench.give_back(grant, delay_ms=60_000)


async def _wait_for_limit(bench: Bench, grant: Grant) -> None:
    await bench.limit(grant, Blame("account", "rate", wait_s=60))


async def _drain(bench: Bench, grant: Grant) -> None:
    await bench.give_back(grant, "drain", gives_attempt_back=True)


async def _cancel(bench: Bench, grant: Grant) -> None:
    await bench.jobs.cancel([grant.job_id])
    await bench.end(grant, "cancelled")


async def _cancel_and_die(bench: Bench, grant: Grant) -> None:
    await bench.jobs.cancel([grant.job_id])
    bench.raw.zadd("chatq:leases", {grant.member: 1})
    await bench.keeper().rescue()


async def _die(bench: Bench, grant: Grant) -> None:
    bench.raw.zadd("chatq:leases", {grant.member: 1})
    await bench.keeper().rescue()


Ending = Callable[[Bench, Grant], Awaitable[None]]


@pytest.mark.parametrize(
    "ending", [_finalize, _fail, _back_off, _wait_for_limit, _drain, _cancel, _cancel_and_die, _die]
)
async def test_each_ending_frees_one_slot(bench: Bench, ending: Ending) -> None:
    """In every scope of the call, and sent again it frees nobody else's."""
    for scope in SCOPES:
        await bench.limits.set(scope, {"concurrency": 5})
    await bench.submit("a", "b", client="c")
    ended, other = await bench.claim()
    assert [bench.in_flight(scope) for scope in SCOPES] == [2, 2, 2]
    await ending(bench, ended)
    await ending(bench, ended)
    assert [bench.raw.smembers(f"chatq:slots:{scope}") for scope in SCOPES] == [{other.member}] * 3


async def test_cancelled_call_keeps_its_slot_while_it_runs(bench: Bench) -> None:
    """The upstream still works for it until the worker drops the call."""
    await bench.submit("a")
    await bench.claim()
    await bench.jobs.cancel(["a"])
    assert bench.in_flight("account:p") == 1


async def test_slot_of_a_dead_worker_frees_with_its_lease(bench: Bench) -> None:
    """Not before: its call may still run."""
    await bench.limits.set("account:p", {"concurrency": 1})
    await bench.submit("a", "b")
    await bench.claim()
    bench.let_time_pass(29)
    await bench.keeper().rescue()
    assert await bench.claim() == []
    bench.let_time_pass(2)
    await bench.keeper().rescue()
    assert len(await bench.claim()) == 1


async def test_late_answer_frees_the_slot_of_the_attempt_it_beats(bench: Bench) -> None:
    """Both attempts' slots are free, and the loser frees nothing when it ends."""
    await bench.submit("a", "b")
    old, _ = await bench.claim()
    bench.raw.zadd("chatq:leases", {old.member: 1})
    await bench.keeper().rescue()
    (new,) = await bench.claim()
    assert await bench.answer(old) == ["salvaged"]
    assert bench.in_flight("account:p") == 1
    assert await bench.answer(new) == ["stale"]
    assert bench.in_flight("account:p") == 1


async def test_collected_job_keeps_what_its_call_holds(bench: Bench) -> None:
    """A cancelled job is not deleted while its call runs: its slot would stay behind."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.jobs.cancel(["a"])
    assert await bench.jobs.forget(["a"]) == 0
    await bench.end(grant, "cancelled")
    assert bench.in_flight("account:p") == 0
    assert await bench.jobs.forget(["a"]) == 1


async def test_moved_job_takes_a_slot_where_it_goes(bench: Bench) -> None:
    """And has left none behind."""
    bench.serve("fast.default")
    await bench.submit("a", fallbacks=[("fast", "m")])
    (grant,) = await bench.claim()
    assert await bench.give_back(grant, "next", error=b"{}") == "moved"
    assert (bench.in_flight("account:p"), bench.in_flight("account:fast")) == (0, 0)
    assert len(await bench.claim(load=["fast"])) == 1
    assert (bench.in_flight("account:p"), bench.in_flight("account:fast")) == (0, 1)


async def test_sweep_frees_what_no_lease_holds(bench: Bench) -> None:
    """What broken data left behind goes, what lives stays, and a scope without slots is forgotten."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    bench.raw.sadd("chatq:slots:account:p", "gone:1-x", "gone:2-y")
    assert await bench.limits.sweep() == 2
    assert bench.raw.smembers("chatq:slots:account:p") == {grant.member}
    await bench.end(grant)
    assert await bench.limits.sweep() == 0
    assert bench.raw.exists("chatq:slotted") == 0


async def test_sweep_makes_room(bench: Bench) -> None:
    """A slot that nobody held is granted again."""
    await bench.limits.set("account:p", {"concurrency": 1})
    await bench.submit("a", "b")
    await bench.claim(1)
    bench.raw.delete("chatq:leases")
    await bench.limits.sweep()
    assert len(await bench.claim()) == 1


async def test_freed_slot_wakes_who_waits_for_it(bench: Bench) -> None:
    """Whoever found no slot left word: a worker that sleeps is told by name."""
    pubsub = bench.raw.pubsub(ignore_subscribe_messages=True)
    await bench.limits.set("account:p", {"concurrency": 1})
    await bench.submit("a", "b")
    (grant,) = await bench.claim(1)
    waiting = await bench.look(worker=bench.worker("w2"))
    assert (waiting.grants, waiting.has_more, waiting.look_again_s) == ([], False, None)
    pubsub.subscribe("chatq:wake")
    pubsub.get_message(timeout=5)
    await bench.answer(grant)
    message = pubsub.get_message(timeout=5)
    assert message is not None
    assert message["data"] == "@w2"
    pubsub.close()


async def test_freed_slot_opens_the_lot_that_waits_for_it(bench: Bench) -> None:
    """A model's jobs put aside for want of a slot go on at once, not after a second."""
    await bench.limits.set("model:p/m", {"concurrency": 1})
    await bench.submit("a", "b")
    (grant,) = await bench.claim()
    assert bench.raw.zcard("chatq:later:p.default") == 1
    await bench.answer(grant)
    assert bench.raw.zcard("chatq:later:p.default") == 0
    assert [g.job_id for g in await bench.claim()] == ["b"]


async def test_account_finds_its_concurrency_by_itself(bench: Bench) -> None:
    """Of an account without stated limits nothing is known: 20 at first, doubling with each clean round."""
    await bench.submit(*(f"j{n}" for n in range(200)), queue="q.default")
    rounds = []
    for _ in range(3):
        grants = await bench.claim(100, load=["q"])
        rounds.append(len(grants))
        await bench.answer(*grants)
    assert rounds == [20, 40, 80]


async def test_concurrency_that_is_not_used_does_not_grow(bench: Bench) -> None:
    """Good answers with few calls in flight say nothing of many."""
    await bench.submit(*(f"j{n}" for n in range(200)), queue="q.default")
    for _ in range(3):
        await bench.answer(*await bench.claim(10, load=["q"]))
    assert len(await bench.claim(100, load=["q"])) == 20


async def test_stated_limits_need_no_search(bench: Bench) -> None:
    """Where the operator stated a rate, concurrency follows from it."""
    await bench.limits.set("account:q", {"rpm": 600_000, "slice_ms": 10_000})
    await bench.submit(*(f"j{n}" for n in range(60)), queue="q.default")
    assert len(await bench.claim(60, load=["q"])) == 60


async def test_failures_neither_cut_nor_grow(bench: Bench) -> None:
    """A failing upstream is not pressed harder, and a 5xx is no sign of too many calls."""
    await bench.submit(*(f"j{n}" for n in range(60)), queue="q.default")
    failed, *good = await bench.claim(60, load=["q"])
    shown = [bench.shown(failed, "bad", blame=Blame("model", "failure")), *map(bench.shown, good)]
    await bench.settle([failed, *good], shown)
    assert len(await bench.claim(60, load=["q"])) == 20
