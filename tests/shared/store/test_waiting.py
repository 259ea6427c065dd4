"""Why a job waits: the reason, until when, its place and an ETA, as `explain_job` finds them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from shared.job import Job, JobState, WaitReason
from shared.store.limits import EPOCH_S
from shared.store.waiting import explain_wait
from tests.shared.store.conftest import Bench


async def explain(bench: Bench, job_id: str) -> Job:
    """The job as `Producer.get` reads it; `p` has a living worker."""
    (job,) = await bench.jobs.read([job_id])
    assert job is not None
    return await explain_wait(bench.store, job)


@pytest.fixture(autouse=True)
def worker(bench: Bench) -> None:
    bench.raw.hset("rq:worker:w", "state", "busy")
    bench.raw.expire("rq:worker:w", 60)
    for lane in ("default", "batch"):
        bench.raw.sadd(f"rq:workers:p.{lane}", "rq:worker:w")


def set_state(bench: Bench, scope: str, **fields: Any) -> None:
    bench.raw.set(f"chatq:scope:{scope}", json.dumps(fields), ex=60)


def ms_from_now(seconds: float) -> float:
    """A time in a scope's state."""
    return (time.time() + seconds - EPOCH_S) * 1000


def limit(bench: Bench, scope: str, **fields: float) -> None:
    bench.raw.hset("chatq:limits", scope, json.dumps({"set": fields}))


async def test_job_in_front_is_ready(bench: Bench) -> None:
    """Nobody before it, nothing to wait for."""
    await bench.submit("a")
    job = await explain(bench, "a")
    assert (job.wait_reason, job.place, job.eta_s, job.waits_until) == (WaitReason.READY, 0, 0.0, None)


async def test_place_counts_those_before(bench: Bench) -> None:
    """An ETA needs a rate: none is known here."""
    await bench.submit("a", "b", "c")
    job = await explain(bench, "c")
    assert (job.place, job.eta_s) == (2, None)


async def test_eta_follows_the_drain_rate(bench: Bench) -> None:
    """120 jobs ended in the last two minutes: at least one a second."""
    await bench.submit("a", "b", "c")
    minute = int(time.time() // 60)
    for number in (minute, minute - 1):
        bench.raw.hset(f"chatq:minute:{number}", "ended p.default completed", 60)
        bench.raw.expire(f"chatq:minute:{number}", 60)
    job = await explain(bench, "c")
    assert job.eta_s is not None
    assert 0.9 < job.eta_s <= 2.0


async def test_eta_follows_the_limits(bench: Bench) -> None:
    """60 a minute, ten before it."""
    limit(bench, "account:p", rpm=60)
    await bench.submit(*(f"j{n}" for n in range(11)))
    job = await explain(bench, "j10")
    assert (job.place, job.eta_s) == (10, pytest.approx(10, rel=0.02))


async def test_lots_take_turns(bench: Bench) -> None:
    """With two clients the second of one comes after about two, however many the other has."""
    await bench.submit(*(f"a{n}" for n in range(30)), client="alice")
    await bench.submit("b0", "b1", "b2", client="bob")
    await bench.claim(want=1)
    assert bench.raw.exists("chatq:fair:p.default")
    assert (await explain(bench, "b1")).place == 2
    assert (await explain(bench, "a29")).place in (30, 31)


async def test_backoff_has_its_time(bench: Bench) -> None:
    """When it is due."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.give_back(grant, delay_ms=30_000)
    job = await explain(bench, "a")
    assert (job.wait_reason, job.held_by) == (WaitReason.BACKOFF, None)
    assert job.eta_s == pytest.approx(30, abs=2)
    assert job.waits_until == pytest.approx(time.time() + 30, abs=2)


@pytest.mark.parametrize("scope", ["provider:p", "account:p", "model:p/m"])
async def test_cooldown_names_its_scope_and_end(bench: Bench, scope: str) -> None:
    """As people write the scope."""
    await bench.submit("a")
    set_state(bench, scope, closed_until=ms_from_now(40))
    job = await explain(bench, "a")
    assert job.wait_reason is WaitReason.COOLDOWN
    assert job.held_by == scope.removeprefix("account:").removeprefix("model:")
    assert job.waits_until == pytest.approx(time.time() + 40, abs=2)
    assert job.eta_s == pytest.approx(40, abs=2)


@pytest.mark.parametrize(
    ("why", "reason"),
    [("failures", "breaker"), ("credentials", "credentials"), ("quota", "quota"), (["?"], "breaker")],
)
async def test_open_breaker_says_why(bench: Bench, why: Any, reason: str) -> None:
    """Whatever somebody wrote there."""
    await bench.submit("a")
    set_state(bench, "model:p/m", breaker="open", opened_why=why, open_until=ms_from_now(40))
    job = await explain(bench, "a")
    assert (job.wait_reason, job.held_by) == (reason, "p/m")


async def test_reading_leaves_a_breaker_as_it_is(bench: Bench) -> None:
    """One whose time is over half-opens at a claim, not at a look."""
    await bench.submit("a")
    set_state(bench, "model:p/m", breaker="open", opened_why="failures", open_until=ms_from_now(-1))
    before = bench.raw.get("chatq:scope:model:p/m")
    assert (await explain(bench, "a")).wait_reason is WaitReason.READY
    assert bench.raw.get("chatq:scope:model:p/m") == before


async def test_used_up_rate_is_told(bench: Bench) -> None:
    """After a claim took all there was."""
    limit(bench, "account:p", rpm=60)
    await bench.submit("a", "b", "c")
    await bench.claim()
    left = next(i for i in ("b", "c") if bench.status(i) == "queued")
    job = await explain(bench, left)
    assert (job.wait_reason, job.held_by) == (WaitReason.RATE_LIMITED, "p")
    assert job.waits_until is not None


async def test_used_up_slots_have_no_end(bench: Bench) -> None:
    """A call has to end first."""
    limit(bench, "client:default", concurrency=1)
    await bench.submit("a", "b")
    await bench.claim()
    job = await explain(bench, "b")
    assert (job.wait_reason, job.held_by, job.waits_until) == (
        WaitReason.CONCURRENCY, "client:default", None,
    )  # fmt: skip


async def test_suspect_waits_in_quarantine(bench: Bench) -> None:
    """With a place of its own."""
    await bench.submit("a")
    for _ in range(2):
        await bench.claim()
        bench.expire_leases()
        await bench.keeper().rescue()
    job = await explain(bench, "a")
    assert (job.wait_reason, job.place) == (WaitReason.QUARANTINE, 0)


async def test_nobody_there_has_no_eta(bench: Bench) -> None:
    """A worker that left does not count, nor one whose entry is gone."""
    await bench.submit("a")
    bench.raw.hset("rq:worker:w", "death", "x")
    left = await explain(bench, "a")
    bench.raw.delete("rq:worker:w")
    gone = await explain(bench, "a")
    assert left.wait_reason is gone.wait_reason is WaitReason.NO_WORKER
    assert left.eta_s is gone.eta_s is None


async def test_suspended_is_told_first(bench: Bench) -> None:
    """RQ's own switch."""
    await bench.submit("a")
    bench.raw.set("rq:suspended", 1, ex=60)
    assert (await explain(bench, "a")).wait_reason is WaitReason.SUSPENDED


@pytest.mark.parametrize(
    "key", ["rq:workers:p.default", "rq:suspended", "chatq:scope:account:p", "rq:queue:p.default"]
)
async def test_broken_data_costs_the_explanation_only(bench: Bench, key: str) -> None:
    """The job is shown without it."""
    await bench.submit("a")
    bench.raw.delete(key)
    bench.raw.zadd(key, {"x": 1})
    bench.raw.expire(key, 60)
    job = await explain(bench, "a")
    bench.raw.delete(key)
    assert (job.id, job.state) == ("a", JobState.QUEUED)


async def test_broken_numbers_cost_the_explanation_only(bench: Bench) -> None:
    """A limit that makes time infinite."""
    await bench.submit("a", "b")
    limit(bench, "account:p", rpm=1e-320)
    job = await explain(bench, "b")
    assert job.wait_reason is not None
    assert job.eta_s is None


async def test_running_job_is_not_explained(bench: Bench) -> None:
    """Nor one that ended."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    running = await explain(bench, "a")
    await bench.end(grant)
    ended = await explain(bench, "a")
    assert (running.wait_reason, running.place, ended.wait_reason) == (None, None, None)
