"""extend, rescue, promote, cancel, forget: the chores."""

from __future__ import annotations

import orjson

from shared.store.deltas import Append, append_deltas
from shared.store.scripts import load
from tests.shared.store.conftest import Bench


async def _extend(bench: Bench, *members: str, lease_ms: int = 30_000) -> list[str]:
    return [word.decode() for word in await bench.store.run("extend_leases", [lease_ms, *members])]


async def test_held_lease_is_renewed(bench: Bench) -> None:
    """The new end is counted from Redis's clock."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    bench.expire_leases()
    assert await _extend(bench, grant.member) == []
    assert bench.raw.zscore("chatq:leases", grant.member) > 1e12


async def test_lost_lease_comes_with_status(bench: Bench) -> None:
    """The worker can tell a cancelled job from one that was taken back."""
    await bench.submit("a", "b")
    a, b = await bench.claim()
    await bench.jobs.cancel(["a"])
    bench.expire_leases()
    await bench.keeper().rescue()
    assert await _extend(bench, a.member, b.member) == [a.member, "canceled", b.member, "queued"]


async def test_extend_never_creates_a_lease(bench: Bench) -> None:
    """A grant that ended stays ended."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.end(grant)
    await _extend(bench, grant.member)
    assert bench.raw.exists("chatq:leases") == 0


async def test_abandoned_job_goes_to_the_front(bench: Bench) -> None:
    """It has waited longest; the attempt stays spent."""
    await bench.submit("a", "b")
    await bench.claim(1)
    bench.expire_leases()
    assert await bench.keeper().rescue() == (["a"], [], [])
    assert bench.raw.lrange("rq:queue:p.default", 0, -1) == ["a", "b"]
    assert bench.raw.hget("rq:job:a", "cq_attempts") == "1"
    assert bench.raw.exists("rq:wip:p.default") == 0


async def test_living_lease_is_left_alone(bench: Bench) -> None:
    """A rescuer takes only what ran out."""
    await bench.submit("a")
    await bench.claim()
    assert await bench.keeper().rescue() == ([], [], [])


async def test_abandoned_last_attempt_fails_the_job(bench: Bench) -> None:
    """No call beyond the limit, whoever dies."""
    await bench.submit("a", max_attempts=1)
    await bench.claim()
    bench.expire_leases()
    assert await bench.keeper().rescue() == ([], [], ["a"])
    assert bench.status("a") == "failed"
    (job,) = await bench.jobs.read(["a"])
    assert job is not None
    assert job.error is not None
    assert job.error.code == "worker_lost"


async def test_two_rescuers_requeue_once(bench: Bench) -> None:
    """Each acts only on the leases it removed itself."""
    await bench.submit("a")
    await bench.claim()
    bench.expire_leases()
    await bench.keeper().rescue()
    await bench.keeper().rescue()
    assert bench.raw.llen("rq:queue:p.default") == 1


async def test_due_job_is_promoted(bench: Bench) -> None:
    """Its time has come: it is first in line."""
    await bench.submit("a", "b")
    (grant,) = await bench.claim(1)
    await bench.give_back(grant, delay_ms=60_000)
    bench.raw.zadd("rq:scheduled:p.default", {"a": 1})
    assert await bench.keeper().promote() is None
    assert bench.raw.lrange("rq:queue:p.default", 0, -1) == ["a", "b"]
    assert bench.status("a") == "queued"


async def test_promoter_learns_when_to_return(bench: Bench) -> None:
    """The next due time comes with the answer, so nothing polls."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.give_back(grant, delay_ms=60_000)
    due_s = await bench.keeper().promote()
    assert due_s is not None
    assert 59 < due_s <= 60


async def test_cancelled_scheduled_job_is_not_promoted(bench: Bench) -> None:
    """Neither by our promoter nor by RQ's scheduler: the entry is gone."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.give_back(grant, delay_ms=60_000)
    await bench.jobs.cancel(["a"])
    assert bench.raw.exists("rq:scheduled:p.default") == 0


async def test_cancel_answers_for_each_state(bench: Bench) -> None:
    """Before and after, for queued, running, ended and unknown jobs."""
    await bench.submit("a", "b", "c")
    a, _b = await bench.claim(2)
    await bench.end(a)
    assert await bench.jobs.cancel(["a", "b", "c", "nobody"]) == [
        ("completed", "completed"),
        ("started", "cancelled"),
        ("queued", "cancelled"),
        ("", ""),
    ]


async def test_cancel_of_running_job_tells_its_worker(bench: Bench) -> None:
    """RQ's own stop-job message, so that the call is dropped at once."""
    pubsub = bench.raw.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe("rq:pubsub:w1")
    pubsub.get_message(timeout=5)
    await bench.submit("a")
    await bench.claim()
    await bench.jobs.cancel(["a"])
    message = pubsub.get_message(timeout=5)
    assert message is not None
    assert message["data"] == '{"command":"stop-job","job_id":"a"}'
    pubsub.close()


async def test_forget_leaves_unfinished_jobs(bench: Bench) -> None:
    """Only what has ended can be collected."""
    await bench.submit("a", "b")
    (grant,) = await bench.claim(1)
    await bench.end(grant)
    assert await bench.jobs.forget(["a", "b", "nobody"]) == 1
    assert bench.raw.exists("rq:job:a", "rq:finished:p.default") == 0
    assert bench.status("b") == "queued"


async def test_forget_deletes_the_pieces_of_an_answer(bench: Bench) -> None:
    """Who deletes a response wants no part of it to be read any more."""
    await bench.submit("a")
    (grant,) = await bench.claim(1)
    assert await append_deltas(bench.store, [Append("a", grant.token, 1, [b"[]"])], retry_s=5) == [True]
    await bench.end(grant)
    await bench.jobs.forget(["a"])
    assert not bench.raw.exists("chatq:deltas:a")


async def test_flushed_script_cache_is_transparent(bench: Bench) -> None:
    """NOSCRIPT loads the script again."""
    await bench.submit("a")
    bench.raw.script_flush()
    assert len(await bench.claim()) == 1


async def test_dates_are_rqs_and_redis_time(bench: Bench) -> None:
    """The date computed in Lua is the server's time in RQ's format."""
    await bench.submit("a")
    (job,) = await bench.jobs.read(["a"])
    seconds, microseconds = bench.raw.time()
    assert job is not None
    assert job.created_at is not None
    assert 0 <= seconds + microseconds / 1e6 - job.created_at < 5


def test_script_flags_go_only_to_servers_that_know_them() -> None:
    """Below 7.0 the shebang is a syntax error."""
    assert load("finalize_jobs", with_flags=True).text.startswith("#!lua flags=allow-oom\n")
    assert not load("finalize_jobs", with_flags=False).text.startswith("#!")


async def test_cancel_leaves_one_outcome_event(bench: Bench) -> None:
    """Sent twice it is still one outcome."""
    await bench.submit("a")
    await bench.jobs.cancel(["a"])
    await bench.jobs.cancel(["a"])
    events = [orjson.loads(fields["outcome"]) for _, fields in bench.raw.xrange("chatq:events")]
    assert events == [{"type": "outcome", "job": "a", "queue": "p.default", "state": "cancelled"}]
