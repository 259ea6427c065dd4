"""Moving on: which candidate a job goes to, when, and what it takes along."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest

from shared.store.call_result import Blame
from shared.store.grants import Grant
from shared.store.limits import EPOCH_S
from tests.shared.store.conftest import Bench

ROUTE = [("q", "qm"), ("r", "rm")]


async def start(
    bench: Bench, *job_ids: str, route: Sequence[tuple[str, str]] = ROUTE, expires_in_ms: int = 0
) -> list[Grant]:
    """Jobs at p with other candidates, granted; all candidates have workers."""
    bench.serve("p.default", "q.default", "r.default")
    await bench.submit(*(job_ids or "a"), fallbacks=route, expires_in_ms=expires_in_ms)
    return await bench.claim()


async def go_on(bench: Bench, grant: Grant, reason: str = "next", *, delay_ms: int = 0) -> str:
    return await bench.give_back(grant, reason, delay_ms=delay_ms, error=b'{"code":"x"}')  # type: ignore[arg-type]


def close(bench: Bench, provider: str, for_s: float) -> None:
    """Closes an account as a limit does."""
    seconds, microseconds = bench.raw.time()
    until_ms = (seconds + microseconds / 1e6 - EPOCH_S + for_s) * 1000
    scope = f"account:{provider}"
    state = {**bench.state(scope), "closed_until": until_ms}
    bench.raw.set(f"chatq:scope:{scope}", orjson.dumps(state), ex=86400)


def where(bench: Bench, job_id: str = "a") -> str | None:
    return bench.raw.hget(f"rq:job:{job_id}", "origin")


async def test_next_candidate_in_order_of_preference(bench: Bench) -> None:
    """With what it has used so far, and as that provider's model."""
    (grant,) = await start(bench)
    assert await go_on(bench, grant) == "moved"
    (moved,) = await bench.claim(load=["q"])
    assert (moved.queue, moved.attempts) == ("q.default", 2)
    assert moved.hops == (1, frozenset({0, 1}), 1)
    assert bench.raw.hget("rq:job:a", "cq_cost") == f"10 10 {_bytes(bench)} default\nqm"


def _bytes(bench: Bench) -> int:
    return len(bench.new("x").request_json)


async def test_closed_candidate_is_passed_over(bench: Bench) -> None:
    """One that takes calls now is better."""
    (grant,) = await start(bench)
    close(bench, "q", 60)
    await go_on(bench, grant)
    assert where(bench) == "r.default"


async def test_candidate_without_workers_is_none(bench: Bench) -> None:
    """Nobody would ever take it there; a dead worker's name does not count."""
    (grant,) = await start(bench)
    bench.raw.srem("rq:workers:q.default", "rq:worker:w1")
    bench.raw.sadd("rq:workers:q.default", "rq:worker:dead")
    await go_on(bench, grant)
    assert where(bench) == "r.default"


async def test_candidate_that_does_not_drain_in_time_is_passed_over(bench: Bench) -> None:
    """Thirty jobs at one a second take longer than the deadline allows."""
    await bench.limits.set("account:q", {"rpm": 60})
    await bench.submit(*(f"w{n}" for n in range(30)), queue="q.default")
    (grant,) = await start(bench, expires_in_ms=20_000)
    await go_on(bench, grant)
    assert where(bench) == "r.default"


async def test_deadline_far_enough_takes_the_queue_into_account(bench: Bench) -> None:
    """The same queue is short enough for a later deadline."""
    await bench.limits.set("account:q", {"rpm": 60})
    await bench.submit(*(f"w{n}" for n in range(30)), queue="q.default")
    (grant,) = await start(bench, expires_in_ms=60_000)
    await go_on(bench, grant)
    assert where(bench) == "q.default"


async def test_job_that_cannot_stay_takes_what_opens_first(bench: Bench) -> None:
    """All others are closed."""
    (grant,) = await start(bench)
    close(bench, "q", 60)
    close(bench, "r", 30)
    assert await go_on(bench, grant) == "moved"
    assert where(bench) == "r.default"


async def test_unfit_candidate_is_never_tried_again(bench: Bench) -> None:
    """And after the last one the job has failed, with its last error."""
    (grant,) = await start(bench)
    for provider in ("q", "r"):
        assert await go_on(bench, grant) == "moved"
        (grant,) = await bench.claim(load=[provider])
    assert await go_on(bench, grant) == "failed"
    assert (bench.status("a"), bench.raw.hget("rq:job:a", "cq_error")) == ("failed", '{"code":"x"}')


async def test_single_candidate_fails_at_once(bench: Bench) -> None:
    """There is nothing else to go on with."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    assert await go_on(bench, grant) == "failed"


async def test_failing_candidate_is_left_for_another(bench: Bench) -> None:
    """And come back to while nothing better is open: it was not unfit."""
    (grant,) = await start(bench, route=ROUTE[:1])
    assert await go_on(bench, grant, "elsewhere", delay_ms=1000) == "moved"
    (grant,) = await bench.claim(load=["q"])
    assert await go_on(bench, grant, "elsewhere", delay_ms=1000) == "moved"
    (grant,) = await bench.claim()
    assert (grant.queue, grant.attempts) == ("p.default", 3)


async def test_failing_candidate_is_tried_again_where_nothing_is_open(bench: Bench) -> None:
    """After the backoff, as if there were no others."""
    (grant,) = await start(bench)
    close(bench, "q", 60)
    close(bench, "r", 60)
    assert await go_on(bench, grant, "elsewhere", delay_ms=1000) == "ok"
    assert (bench.status("a"), where(bench)) == ("scheduled", "p.default")


@pytest.mark.parametrize(("wait_s", "queue"), [(3, "p.default"), (10, "q.default")])
async def test_long_waits_are_spent_elsewhere(bench: Bench, wait_s: float, queue: str) -> None:
    """Longer than five seconds by default; a short one is waited out."""
    (grant,) = await start(bench)
    await bench.limit(grant, Blame("account", "rate", wait_s=wait_s))
    assert where(bench) == queue


async def test_wait_beyond_the_deadline_is_spent_elsewhere(bench: Bench) -> None:
    """However short it is."""
    (grant,) = await start(bench, expires_in_ms=2000)
    assert await bench.limit(grant, Blame("account", "rate", wait_s=3)) == "moved"


async def test_wait_beyond_the_deadline_without_others_fails(bench: Bench) -> None:
    """At once, with the error that says so."""
    await bench.submit("a", expires_in_ms=2000)
    (grant,) = await bench.claim()
    late = b'{"code":"too_late"}'
    assert await bench.limit(grant, Blame("account", "rate", wait_s=3), late_error=late) == "failed"
    assert bench.raw.hget("rq:job:a", "cq_error") == late.decode()
    assert bench.raw.exists("chatq:deadlines") == 0


async def test_deadline_that_passed_during_the_call_ends_the_moved_job(bench: Bench) -> None:
    """Even where nobody comes for it any more."""
    (grant,) = await start(bench, expires_in_ms=2000)
    bench.let_time_pass(3)
    keeper = bench.keeper(queues=["p.default", "q.default"])
    await keeper.promote()
    assert bench.status("a") == "started"
    assert await go_on(bench, grant) == "moved"
    await keeper.promote()
    assert (bench.status("a"), bench.raw.hget("rq:job:a", "cq_state")) == ("failed", "expired")


async def test_move_sent_twice_is_one(bench: Bench) -> None:
    """The lease is the fence here too."""
    (grant,) = await start(bench)
    assert await go_on(bench, grant) == "moved"
    assert await go_on(bench, grant) == "stale"
    assert bench.raw.lrange("rq:queue:q.default", 0, -1) == ["a"]


async def test_moved_job_is_counted_where_it_waits(bench: Bench) -> None:
    """Its bytes and its place go with it."""
    (grant,) = await start(bench)
    await go_on(bench, grant)
    assert bench.raw.hgetall("chatq:payload") == {"q.default": str(_bytes(bench))}
    assert bench.raw.hget("chatq:totals", "moved") == "1"


@pytest.mark.parametrize("route", ["x", "{}", "[1,2]", '[["p","m"],["q"]]', '[["p","m"],[null,3]]', "null"])
async def test_broken_route_is_none(bench: Bench, route: str) -> None:
    """The job fails like one with a single candidate."""
    (grant,) = await start(bench)
    bench.raw.hset("rq:job:a", "cq_route", route)
    assert await go_on(bench, grant) == "failed"


async def test_broken_route_of_a_waiting_job_costs_nobody_a_lease(bench: Bench) -> None:
    """It waits where it is; its neighbours are granted."""
    await start(bench)
    await bench.submit("b", fallbacks=ROUTE)
    await bench.submit("c", queue="fast.default")
    bench.raw.hset("rq:job:b", "cq_route", "[1,2]")
    close(bench, "p", 60)
    assert [g.job_id for g in await bench.claim(load=["fast", "p"])] == ["c"]
    assert bench.status("b") == "queued"


async def open_breaker(bench: Bench, *, scope: str = "account") -> None:
    """Closes p, or its model m, for five minutes."""
    await bench.submit("opener")
    (grant,) = await bench.claim(1)
    await bench.fail(grant, blame=Blame(scope, "quota", wait_s=300))  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", ["account", "model", "provider"])
async def test_jobs_behind_a_closed_candidate_move_on(bench: Bench, scope: str) -> None:
    """Those with another one; in order, and none twice; the others wait."""
    bench.serve("p.default", "q.default")
    await open_breaker(bench, scope=scope)
    movable = [f"a{n}" for n in range(20)]
    await bench.submit(*movable[:10], fallbacks=ROUTE[:1])
    await bench.submit("stays")
    await bench.submit(*movable[10:], fallbacks=ROUTE[:1])
    worker = bench.worker()
    for _ in range(3):
        assert await bench.claim(worker=worker) == []
    assert bench.raw.lrange("rq:queue:q.default", 0, -1) == movable
    assert (bench.status("stays"), where(bench, "stays")) == ("queued", "p.default")
    bench.let_time_pass(301)
    assert [g.job_id for g in await bench.claim()] == ["stays"]


async def test_closed_candidate_without_open_others_keeps_its_jobs(bench: Bench) -> None:
    """They are looked at again, and move once another opens."""
    bench.serve("p.default", "q.default")
    close(bench, "q", 20)
    await open_breaker(bench)
    await bench.submit("a", "b", fallbacks=ROUTE[:1])
    await bench.claim()
    assert where(bench) == "p.default"
    bench.let_time_pass(21)
    await bench.claim()
    await bench.claim()
    assert [where(bench, job_id) for job_id in "ab"] == ["q.default", "q.default"]


async def test_no_more_jobs_move_than_drain_in_time(new_bench: Bench) -> None:
    """At one a second, and a minute's patience beyond the closure of 300 s: 360 of 500."""
    new_bench.serve("p.default", "q.default")
    await new_bench.limits.set("account:q", {"rpm": 60})
    await open_breaker(new_bench)
    await new_bench.submit(*(f"a{n}" for n in range(500)), fallbacks=ROUTE[:1])
    for _ in range(5):
        await new_bench.claim()
    assert new_bench.raw.llen("rq:queue:q.default") == pytest.approx(360, abs=2)


async def test_moved_jobs_do_not_return_by_themselves(bench: Bench) -> None:
    """New ones go to the first candidate again; these stay where they are."""
    (grant,) = await start(bench)
    await bench.limit(grant, Blame("account", "rate", wait_s=10))
    bench.let_time_pass(11)
    assert await bench.claim() == []
    assert [g.job_id for g in await bench.claim(load=["q"])] == ["a"]


async def test_nothing_is_lost_between_two_closed_candidates(bench: Bench) -> None:
    """Whichever closes when: each job stands in one place, and ends once."""
    bench.serve("p.default", "q.default")
    bench.set_policy(failover_after_ms=1000)
    ids = [f"a{n}" for n in range(30)]
    await bench.submit(*ids, fallbacks=ROUTE[:1])
    ended: list[str] = []
    for n in range(40):
        close(bench, "p" if n % 2 else "q", 3)
        await bench.claim(0, load=["p", "q"])  # what is closed hands its jobs on
        for grant in await bench.claim(5, load=["p", "q"]):
            if n % 3:
                await bench.answer(grant)
                ended.append(grant.job_id)
            else:
                await go_on(bench, grant, "elsewhere", delay_ms=500)
        bench.let_time_pass(4)
        await bench.keeper(queues=["p.default", "q.default"]).promote()
        if len(ended) == len(ids):
            break
    assert sorted(ended) == sorted(ids)
