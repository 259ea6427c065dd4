"""Jobs that end without a call: cancelled or too late, wherever they stand; and replay, the way back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from shared.job import JobState
from shared.store.call_result import Blame
from shared.store.grants import Load
from tests.shared.store.conftest import Bench


async def queued(bench: Bench) -> None:
    """In RQ's list."""


async def parked(bench: Bench) -> None:
    """In a lot that is held back: the only slot of its model is taken."""
    await bench.limits.set("model:p/m", {"concurrency": 1})
    await bench.claim()
    assert bench.raw.exists("chatq:aside:p.default") == 1


async def scheduled(bench: Bench) -> None:
    """Waiting for its backoff."""
    for grant in await bench.claim():
        if grant.job_id == "a":
            await bench.give_back(grant, delay_ms=5000)


async def in_quarantine(bench: Bench) -> None:
    """A suspect."""
    for _ in range(2):
        await bench.claim()
        bench.expire_leases()
        await bench.keeper().rescue()


async def behind_a_closed_provider(bench: Bench) -> None:
    """Put aside for as long as it is closed."""
    bench.serve("p.default")
    (first, *_) = await bench.claim(1)
    await bench.fail(first, blame=Blame("account", "quota", wait_s=300))
    await bench.claim()


Place = Callable[[Bench], Awaitable[None]]
PLACES = [queued, parked, scheduled, in_quarantine, behind_a_closed_provider]


async def put(bench: Bench, place: Place, *, expires_in_ms: int = 0) -> None:
    """Job `a` stands in that place; another one may run."""
    if place in (parked, behind_a_closed_provider):
        await bench.submit("first")
    await bench.submit("a", expires_in_ms=expires_in_ms, fallbacks=[("q", "m")])
    await place(bench)
    assert bench.status("a") in ("queued", "scheduled")


async def assert_never_granted(bench: Bench) -> None:
    """Whatever opens later, nobody gets it, and nothing of it waits."""
    for _ in range(3):
        bench.let_time_pass(200)
        await bench.keeper().promote()
        for grant in await bench.claim(load=["p", "q"]):
            assert grant.job_id != "a"
            await bench.answer(grant)
    assert bench.raw.exists("chatq:deadlines", "rq:scheduled:p.default", "chatq:quarantine:p") == 0
    assert bench.raw.exists("rq:queue:p.default", "chatq:aside:p.default") == 0


@pytest.mark.parametrize("place", PLACES)
async def test_cancelled_job_is_never_granted(bench: Bench, place: Place) -> None:
    """From the acknowledgement on, wherever it stood."""
    await put(bench, place, expires_in_ms=10_000)
    await bench.jobs.cancel(["a"])
    assert bench.status("a") == "canceled"
    await assert_never_granted(bench)


@pytest.mark.parametrize("place", PLACES)
async def test_late_job_ends_by_itself(bench: Bench, place: Place) -> None:
    """Nobody needs to look at it in its place: the promoter ends it, and knows when to."""
    await put(bench, place, expires_in_ms=8000)
    next_s = await bench.keeper().promote()
    assert next_s is not None
    assert next_s <= 8
    bench.let_time_pass(8.1)
    await bench.keeper().promote()
    (job,) = await bench.jobs.read(["a"])
    assert job is not None
    assert job.error is not None
    assert (job.state, job.error.code) == (JobState.EXPIRED, "expired")
    await assert_never_granted(bench)


@pytest.mark.parametrize("place", [queued, in_quarantine])
async def test_claim_grants_nothing_late(bench: Bench, place: Place) -> None:
    """Also when the promoter has not been there."""
    await put(bench, place, expires_in_ms=8000)
    bench.let_time_pass(8.1)
    assert await bench.claim() == []
    (job,) = await bench.jobs.read(["a"])
    assert job is not None
    assert job.state is JobState.EXPIRED
    assert bench.raw.exists("chatq:deadlines", "chatq:payload") == 0


@pytest.mark.parametrize("kind", ["completed", "failed", "expired", "cancelled", "stopped"])
async def test_each_end_forgets_the_deadline(bench: Bench, kind: str) -> None:
    """What has ended is not looked for."""
    await bench.submit("a", expires_in_ms=8000)
    (grant,) = await bench.claim()
    assert await bench.end(grant, kind) == "ok"  # type: ignore[arg-type]
    assert bench.raw.exists("chatq:deadlines") == 0


async def test_running_call_is_its_workers(bench: Bench) -> None:
    """Its time-out ends with the deadline: the answer may be on its way."""
    await bench.submit("a", expires_in_ms=8000)
    (grant,) = await bench.claim()
    bench.let_time_pass(8.1)
    await bench.keeper().promote()
    assert bench.status("a") == "started"
    assert await bench.end(grant) == "ok"


@pytest.mark.parametrize("how", ["rescued", "drained"])
async def test_job_that_comes_back_late_ends(bench: Bench, how: str) -> None:
    """The deadline passed during the call, and the provider is closed: still nobody has to look at it."""
    await bench.submit("a", "b", expires_in_ms=8000)
    grant, other = await bench.claim()
    await bench.fail(other, blame=Blame("account", "quota", wait_s=300))
    bench.let_time_pass(8.1)
    await bench.keeper().promote()
    if how == "rescued":
        bench.expire_leases()
        await bench.keeper().rescue()
    else:
        await bench.give_back(grant, "drain", gives_attempt_back=True)
    await bench.keeper().promote()
    assert bench.raw.hget("rq:job:a", "cq_state") == "expired"


async def test_backoff_beyond_the_deadline_ends_the_job(bench: Bench) -> None:
    """There would be no call after it."""
    await bench.submit("a", expires_in_ms=8000)
    (grant,) = await bench.claim()
    assert await bench.give_back(grant, delay_ms=9000, error=b'{"code":"x"}') == "failed"
    assert bench.raw.hget("rq:job:a", "cq_state") == "expired"
    assert bench.raw.exists("rq:scheduled:p.default", "chatq:deadlines") == 0


async def test_backoff_before_the_deadline_waits(bench: Bench) -> None:
    """And both times are known to the promoter."""
    await bench.submit("a", expires_in_ms=8000)
    (grant,) = await bench.claim()
    assert await bench.give_back(grant, delay_ms=7000) == "ok"
    assert await bench.keeper().promote() == pytest.approx(7, abs=0.1)


async def test_claim_sent_again_does_not_grant_what_was_cancelled(bench: Bench) -> None:
    """The reply was lost, and the cancel came in between: no call after its acknowledgement."""
    await bench.submit("a", "b")
    worker = bench.worker()
    await worker.claim(nonce="x", want=2, load={"p": Load()})
    await bench.jobs.cancel(["a"])
    again = await worker.claim(nonce="x", want=2, load={"p": Load()})
    assert [g.job_id for g in again.grants] == ["b"]


async def test_cancelled_call_is_dropped_once(bench: Bench) -> None:
    """Its worker hears it at the next renewal; the job's outcome stays, whatever the worker says."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.jobs.cancel(["a"])
    lost = await bench.store.run("extend_leases", [30_000, grant.member])
    assert lost == [grant.member.encode(), b"canceled"]
    assert await bench.end(grant) == "revoked"
    assert await bench.end(grant) == "revoked"
    assert bench.status("a") == "canceled"
    assert bench.raw.hget("chatq:totals", "cancelled") == "1"


async def replay(bench: Bench, job_id: str, *, queue: str = "p.default", route: bytes = b"") -> int:
    cost = bench.new(job_id, model="other").cost.encode()
    (code,) = await bench.store.run("replay_jobs", [job_id, queue, b"{}", cost, route])
    return int(code)


@pytest.mark.parametrize("kind", ["failed", "expired", "stopped"])
async def test_replayed_job_starts_anew(bench: Bench, kind: str) -> None:
    """With all its attempts, without its deadline, as a job of its new model."""
    await bench.submit("a", expires_in_ms=8000)
    (grant,) = await bench.claim()
    await bench.end(grant, kind)  # type: ignore[arg-type]
    assert await replay(bench, "a") == 1
    bench.let_time_pass(60)
    (again,) = await bench.claim()
    assert (again.attempts, again.deadline_at, again.token != grant.token) == (1, None, True)
    assert bench.raw.zcard("rq:failed:p.default") == 0
    await bench.answer(again)
    assert bench.raw.exists("chatq:payload", "chatq:slots:account:p") == 0


async def test_replay_sent_twice_queues_once(bench: Bench) -> None:
    """The second finds an unfinished job."""
    await bench.submit("a")
    await bench.jobs.cancel(["a"])
    assert [await replay(bench, "a"), await replay(bench, "a")] == [1, 0]
    assert len(await bench.claim()) == 1


async def test_answered_and_unknown_jobs_are_not_replayed(bench: Bench) -> None:
    """Nothing is asked again that was answered."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    assert await replay(bench, "a") == 0
    await bench.end(grant)
    assert [await replay(bench, "a"), await replay(bench, "nobody")] == [0, 0]


async def test_cancelled_job_is_replayed_when_its_call_is_over(bench: Bench) -> None:
    """Never two calls of one job at a time."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.jobs.cancel(["a"])
    assert await replay(bench, "a") == 0
    await bench.end(grant, "cancelled")
    assert await replay(bench, "a") == 1


async def test_replay_may_go_elsewhere(bench: Bench) -> None:
    """To another queue with a route of its own; nothing of it stays where it was."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.end(grant, "failed")
    bench.serve("p.default")
    await replay(bench, "a", queue="fast.default", route=b'[["fast","other"],["p","m"]]')
    (again,) = await bench.claim(load=["fast"])
    assert again.queue == "fast.default"
    assert await bench.give_back(again, "next", error=b"{}") == "moved"
    assert list(bench.raw.hgetall("chatq:payload")) == ["p.default"]


async def test_running_jobs_may_be_spared(bench: Bench) -> None:
    """What waits is cancelled, what a worker has goes on."""
    await bench.submit("a", "b")
    (grant,) = await bench.claim(1)
    assert await bench.jobs.cancel(["a", "b"], spares_running=True) == [
        ("started", "started"),
        ("queued", "cancelled"),
    ]
    assert await bench.end(grant) == "ok"
