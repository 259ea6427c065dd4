"""Sending on jobs whose selector has answered: where they go, what it counts as, and what is settled meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from shared.store.call_result import Blame
from shared.store.grants import Grant, Routed
from tests.shared.store.conftest import REQUEST, Bench

TARGETS = [("q", "qm", 400, 50), ("r", "rm", 400, 50)]


async def rated(bench: Bench, grant: Grant, route: Sequence[Any] = TARGETS, **fields: Any) -> str:
    """The selector has answered."""
    info = orjson.dumps({"model": "group", "candidates": [entry[:2] for entry in route]})
    routed = Routed(grant, info, orjson.dumps(route), b'{"type":"attempt"}', **fields)
    (code,) = await bench.worker().route([routed], retry_s=5)
    return code


async def test_job_goes_to_its_target_and_the_rating_was_no_attempt(bench: Bench) -> None:
    """With what the target's call asks for, and what now stands beside the request."""
    await bench.submit("a", model="selector", max_attempts=1)
    (grant,) = await bench.claim()
    assert await rated(bench, grant, shown=bench.shown(grant, prompt=30, output=1)) == "moved"
    (moved,) = await bench.claim(load=["q"])
    assert (moved.queue, moved.attempts, moved.hops) == ("q.default", 1, (0, frozenset({0}), 0))
    assert orjson.loads(moved.info)["candidates"] == [["q", "qm"], ["r", "rm"]]
    assert bench.raw.hget("rq:job:a", "cq_cost") == f"400 50 {len(REQUEST)} default\nqm"
    assert await bench.end(moved) == "ok"


async def test_other_targets_are_fallbacks(bench: Bench) -> None:
    bench.serve("q.default", "r.default")
    await bench.submit("a")
    (grant,) = await bench.claim()
    await rated(bench, grant)
    (moved,) = await bench.claim(load=["q"])
    assert await bench.give_back(moved, "next", error=b"{}") == "moved"
    assert bench.raw.hget("rq:job:a", "origin") == "r.default"


async def test_single_target_leaves_no_way_of_before(bench: Bench) -> None:
    """The candidates the job had until now are gone with the selector."""
    await bench.submit("a", fallbacks=[("x", "xm")])
    (grant,) = await bench.claim()
    await rated(bench, grant, TARGETS[:1])
    assert not bench.raw.hexists("rq:job:a", "cq_route")


async def test_sent_twice_moves_once(bench: Bench) -> None:
    await bench.submit("a")
    (grant,) = await bench.claim()
    assert [await rated(bench, grant), await rated(bench, grant)] == ["moved", "stale"]
    assert len(await bench.claim(load=["q"])) == 1
    assert bench.raw.xlen("chatq:events") == 1


async def test_cancelled_meanwhile_stays_cancelled(bench: Bench) -> None:
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.jobs.cancel(["a"])
    assert await rated(bench, grant) == "revoked"
    assert await bench.claim(load=["q"]) == []


async def test_unreadable_way_breaks_only_its_own_job(bench: Bench) -> None:
    """Its grant is left to the janitor; the neighbour goes on."""
    await bench.submit("a", "b")
    first, second = await bench.claim()
    bad = Routed(first, b"{}", b"no json", b"")
    good = Routed(second, b"{}", orjson.dumps(TARGETS), b"")
    assert await bench.worker().route([bad, good], retry_s=5) == ["broken", "moved"]


async def test_what_the_rating_drew_is_settled(bench: Bench) -> None:
    """Its slot is free, and its tokens are on the selector's books."""
    await bench.limits.set("account:p", {"concurrency": 1, "tpm": 60_000})
    await bench.submit("a", "b", prompt_tokens=100, output_tokens=100)
    (grant,) = await bench.claim()
    before = bench.state("account:p")["tokens_at"]
    await rated(bench, grant, shown=bench.shown(grant, prompt=100, output=1))
    assert bench.in_flight("account:p") == 0
    assert bench.state("account:p")["tokens_at"] < before


async def test_unfinished_work_follows_the_job(bench: Bench) -> None:
    """The bounds on new work count it where it waits now."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await rated(bench, grant)
    assert bench.raw.hgetall("chatq:unfinished") == {"q.default": "1"}
    assert bench.raw.hgetall("chatq:payload") == {"q.default": str(len(REQUEST))}


async def test_failing_selector_sends_the_job_where_the_heuristic_would(bench: Bench) -> None:
    """The way may say what another candidate's call asks for."""
    bench.serve("q.default")
    await bench.submit("a", model="selector", prompt_tokens=5, output_tokens=5, fallbacks=[TARGETS[0]])
    (grant,) = await bench.claim()
    assert await bench.give_back(grant, "next", gives_attempt_back=True, error=b"{}") == "moved"
    assert bench.raw.hget("rq:job:a", "cq_cost") == f"400 50 {len(REQUEST)} default\nqm"


RATED = ("p", "selector", 20, 16, "rating")


async def start_rating(bench: Bench, *others: Any, **fields: Any) -> Grant:
    """A job at its selector."""
    job = bench.new("a", model="selector", **fields)._replace(candidates=[RATED, *(others or TARGETS)])
    await bench.jobs.enqueue([job])
    (grant,) = await bench.claim()
    return grant


async def test_job_without_a_rating_goes_where_nobody_serves_if_need_be(bench: Bench) -> None:
    """A job that was never to be rated would wait there, too."""
    grant = await start_rating(bench)
    assert await bench.give_back(grant, "unrated", gives_attempt_back=True, error=b"{}") == "moved"
    assert bench.raw.hget("rq:job:a", "origin") == "q.default"
    assert bench.raw.hget("rq:job:a", "cq_cost") == f"400 50 {len(REQUEST)} default\nqm"


async def test_another_selector_is_asked_first(bench: Bench) -> None:
    bench.serve("s.default", "q.default")
    grant = await start_rating(bench, ("s", "second", 20, 16, "rating"), *TARGETS)
    assert await bench.give_back(grant, "unrated", gives_attempt_back=True, error=b"{}") == "moved"
    assert bench.raw.hget("rq:job:a", "origin") == "s.default"


async def test_worker_that_dies_at_a_rating_costs_no_attempt(bench: Bench) -> None:
    """Also a job that is to be called once only is rated again; calls of dead workers are counted apart."""
    await start_rating(bench, max_attempts=1)
    bench.expire_leases()
    rescued = await bench.keeper().rescue()
    assert rescued.back == ["a"]
    (grant,) = await bench.claim()
    assert grant.attempts - grant.abandoned == 1


async def test_paid_rating_that_leads_nowhere_asks_no_other_selector(bench: Bench) -> None:
    bench.serve("s.default", "q.default")
    grant = await start_rating(bench, ("s", "second", 20, 16, "rating"), *TARGETS)
    assert await bench.give_back(grant, "misrated", gives_attempt_back=True, error=b"{}") == "moved"
    assert bench.raw.hget("rq:job:a", "origin") == "q.default"


async def test_selector_that_nobody_serves_is_not_waited_for(bench: Bench) -> None:
    """Without any worker for what is left, the job waits where its own call would be made."""
    grant = await start_rating(bench, ("s", "second", 20, 16, "rating"), *TARGETS)
    await bench.give_back(grant, "unrated", gives_attempt_back=True, error=b"{}")
    assert bench.raw.hget("rq:job:a", "origin") == "q.default"


@pytest.mark.parametrize("expires_in_ms", [0, 20_000])
async def test_long_limit_of_the_selector_leaves_the_target_its_waits(
    bench: Bench, expires_in_ms: int
) -> None:
    """Whether the wait is too long for the job or only longer than it is worth."""
    if not expires_in_ms:
        bench.serve("q.default")
    grant = await start_rating(bench, expires_in_ms=expires_in_ms)
    assert await bench.limit(grant, Blame("account", "rate", 60.0)) == "moved"
    assert bench.raw.hget("rq:job:a", "origin") == "q.default"
    assert not bench.raw.hexists("rq:job:a", "cq_limited")


async def test_waits_at_the_selector_are_not_the_targets(bench: Bench) -> None:
    """Each has the whole number of waits for its limits."""
    grant = await start_rating(bench)
    await bench.limit(grant, Blame("account", "rate", 0.01))
    assert bench.raw.hget("rq:job:a", "cq_limited") == "1"
    bench.let_time_pass(1)
    (grant,) = await bench.claim()
    await rated(bench, grant)
    assert not bench.raw.hexists("rq:job:a", "cq_limited")
