"""finalize_jobs and release_jobs: the fence, code by code."""

from __future__ import annotations

import asyncio

import pytest

from shared.store.grants import OutcomeKind
from tests.shared.store.conftest import Bench
from tests.support import no_file_left


async def test_outcome_is_stored_with_ttl(bench: Bench) -> None:
    """The job ends, its registry shows it, nothing of the grant is left."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    assert await bench.end(grant) == "ok"
    assert bench.status("a") == "finished"
    assert bench.raw.ttl("rq:job:a") == 100
    assert bench.raw.zscore("rq:finished:p.default", "a") is not None
    assert bench.raw.exists("chatq:leases", "rq:wip:p.default") == 0


async def test_outcome_sent_twice_is_the_same(bench: Bench) -> None:
    """A lost reply counts nothing twice and writes no second event."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.end(grant)
    events = bench.raw.xlen("chatq:events")
    assert await bench.end(grant) == "same"
    assert bench.raw.xlen("chatq:events") == events == 1
    assert bench.raw.hget("chatq:totals", "completed") == "1"


@pytest.mark.parametrize("kind", ["completed", "failed"])
async def test_late_outcome_is_told_once(bench: Bench, kind: OutcomeKind) -> None:
    """Its call may have cost money; a lost reply does not make it two."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.jobs.cancel(["a"])
    told = bench.raw.xlen("chatq:events")
    assert [await bench.end(grant, kind) for _ in range(3)] == ["revoked"] * 3
    assert bench.raw.xlen("chatq:events") == told + 1
    assert bench.raw.hget("chatq:totals", "revoked") == "1"


async def test_release_is_told_once_whatever_became_of_its_job(bench: Bench) -> None:
    """Sent again after the job has gone on and ended."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    event = b'{"type":"attempt"}'
    assert await bench.give_back(grant, "drain", event=event) == "ok"
    assert await bench.give_back(grant, "drain", event=event) == "stale"
    await bench.jobs.cancel(["a"])
    told = bench.raw.xlen("chatq:events")
    assert await bench.give_back(grant, "drain", event=event) == "revoked"
    bench.raw.delete("rq:job:a")
    assert await bench.give_back(grant, "drain", event=event) == "gone"
    assert bench.raw.xlen("chatq:events") == told == 2


async def test_failure_of_stale_grant_is_refused(bench: Bench) -> None:
    """After the rescue only the new holder may fail the job."""
    await bench.submit("a")
    (old,) = await bench.claim()
    bench.expire_leases()
    await bench.keeper().rescue()
    (new,) = await bench.claim()
    assert await bench.end(old, "failed") == "stale"
    assert bench.status("a") == "started"
    assert await bench.end(new) == "ok"


async def test_late_success_of_queued_job_is_salvaged(bench: Bench) -> None:
    """The answer is paid for; the queue entry becomes a tombstone."""
    await bench.submit("a")
    (old,) = await bench.claim()
    bench.expire_leases()
    await bench.keeper().rescue()
    assert await bench.end(old) == "salvaged"
    assert await bench.claim() == []


async def test_late_success_beats_running_attempt(bench: Bench) -> None:
    """The first answer wins; the second attempt's lease is gone and its answer is stale."""
    await bench.submit("a")
    (old,) = await bench.claim()
    bench.expire_leases()
    await bench.keeper().rescue()
    (new,) = await bench.claim()
    assert await bench.end(old, value=b'{"first":1}') == "salvaged"
    assert await bench.end(new, value=b'{"second":1}') == "stale"
    assert bench.raw.hget("rq:job:a", "cq_result") == '{"first":1}'
    assert bench.raw.exists("chatq:leases") == 0


async def test_late_success_of_scheduled_job_clears_schedule(bench: Bench) -> None:
    """A job that waits for its backoff can still be answered by the attempt before."""
    await bench.submit("a")
    (old,) = await bench.claim()
    bench.expire_leases()
    await bench.keeper().rescue()
    (new,) = await bench.claim()
    await bench.give_back(new, delay_ms=60_000)
    assert await bench.end(old) == "salvaged"
    assert bench.raw.exists("rq:scheduled:p.default") == 0


async def test_outcome_of_vanished_job_is_gone(bench: Bench) -> None:
    """A hash that expired is not resurrected half."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    bench.raw.delete("rq:job:a")
    assert await bench.end(grant) == "gone"
    assert bench.raw.exists("rq:job:a") == 0


async def test_outcome_after_rq_cancel_is_revoked(bench: Bench) -> None:
    """RQ's own cancel of a running job holds, and the hash gets a TTL."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    bench.raw.hset("rq:job:a", "status", "canceled")
    assert await bench.end(grant) == "revoked"
    assert bench.status("a") == "canceled"
    assert bench.raw.ttl("rq:job:a") > 0


async def test_paid_answer_is_stored_over_maxmemory(bench: Bench) -> None:
    """New work is refused, what was paid for is kept."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    bench.raw.config_set("maxmemory", 1)
    try:
        assert await bench.end(grant) == "ok"
    finally:
        bench.raw.config_set("maxmemory", 0)


async def test_waiters_get_one_message_a_group(bench: Bench) -> None:
    """Sixty outcomes are one publication to a process that waits for them."""
    ids = [f"a{n}" for n in range(5)]
    await bench.jobs.enqueue([bench.new(i) for i in ids], channel="me")
    pubsub = bench.raw.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe("me")
    pubsub.get_message(timeout=5)
    grants = await bench.claim()
    from_group = [
        bench.raw.publish("probe", ""),
        *await asyncio.gather(*(bench.end(g) for g in grants[:1])),
    ]
    assert from_group[1] == "ok"
    message = pubsub.get_message(timeout=5)
    assert message is not None
    assert message["data"] == "a0"
    pubsub.close()


async def test_released_job_waits_for_its_time(bench: Bench) -> None:
    """A backoff leaves the job scheduled, with its attempt spent."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    assert await bench.give_back(grant, delay_ms=60_000) == "ok"
    assert bench.status("a") == "scheduled"
    assert bench.raw.hget("rq:job:a", "cq_attempts") == "1"
    assert bench.raw.exists("chatq:leases") == 0


async def test_drained_job_keeps_its_attempt(bench: Bench) -> None:
    """A job given back at shutdown is first in line again and has lost nothing."""
    await bench.submit("a", "b")
    (grant,) = await bench.claim(1)
    assert await bench.give_back(grant, "drain", gives_attempt_back=True) == "ok"
    assert bench.raw.lrange("rq:queue:p.default", 0, -1) == ["a", "b"]
    assert bench.raw.hget("rq:job:a", "cq_attempts") == "0"


async def test_release_sent_twice_is_stale(bench: Bench) -> None:
    """The second time there is no lease to give back, and the job is queued once."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.give_back(grant)
    assert await bench.give_back(grant) == "stale"
    assert bench.raw.llen("rq:queue:p.default") == 1


async def test_release_of_cancelled_job_is_revoked(bench: Bench) -> None:
    """A cancel between the call and the release holds."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.jobs.cancel(["a"])
    assert await bench.give_back(grant, delay_ms=100) == "revoked"
    assert bench.status("a") == "canceled"


async def test_full_mirror_leaves_rq_result(bench: Bench) -> None:
    """The full mirror writes RQ's stream and drops the execution entries at the end."""
    await bench.submit("a")
    worker = bench.worker(mirror="full")
    (grant,) = await bench.claim(worker=worker)
    assert bench.raw.exists(f"rq:execution:{grant.member}", "rq:executions:a") == 2
    from shared.store.grants import Outcome

    await worker.finalize([Outcome(grant, "completed", b'{"a":1}', b"", b"{}")], retry_s=5)
    assert bench.raw.xlen("rq:results:a") == 1
    assert bench.raw.exists(f"rq:execution:{grant.member}", "rq:executions:a") == 0


async def test_two_trips_without_a_file_for_the_second_take_turns(bench: Bench) -> None:
    """Nothing is left to connect with: an answer waits for the connection there is, and is not refused."""
    await bench.submit("a", "b")
    a, b = await bench.claim()
    with no_file_left():
        codes = await asyncio.gather(bench.end(a), bench.end(b))
    assert codes == ["ok", "ok"]
