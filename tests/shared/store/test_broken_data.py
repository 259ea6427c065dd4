"""Anybody can write to Redis: broken data costs its own job, never a neighbour's."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from shared.store.connect import Store
from shared.store.hygiene import trim_registries
from shared.store.scripts import is_passing
from tests.shared.store.conftest import Bench


def nothing_held(bench: Bench) -> bool:
    return bench.raw.exists("chatq:leases", "rq:wip:p.default") == 0


@pytest.mark.parametrize("bad", ["x", "a:b", "\udcff", "with space", "line\nbreak"])
async def test_claim_grants_the_neighbours_of_a_bad_entry(bench: Bench, bad: str) -> None:
    """A key of another type, or an id that is none, is dropped and counted."""
    entry = bad.encode(errors="surrogateescape")
    await bench.submit("a")
    bench.raw.set(b"rq:job:" + entry, "no hash", ex=60)
    bench.raw.rpush("rq:queue:p.default", entry)
    await bench.submit("c")
    grants = await bench.claim()
    assert [g.job_id for g in grants] == ["a", "c"]
    assert bench.raw.zcard("chatq:leases") == 2
    assert bench.raw.hget("chatq:totals", "broken") == "1"
    bench.raw.delete(b"rq:job:" + entry)  # it would not even decode in the leak check


async def test_release_gives_back_the_neighbours(bench: Bench) -> None:
    """A job whose hash became something else is reported as broken; the other is queued again."""
    await bench.submit("bad", "good")
    bad, good = await bench.claim()
    bench.raw.set("rq:job:bad", "no hash", ex=60)
    assert [await bench.give_back(bad), await bench.give_back(good)] == ["broken", "ok"]
    assert bench.raw.lrange("rq:queue:p.default", 0, -1) == ["good"]


@pytest.mark.parametrize(
    "key",
    [
        "chatq:tenants:p.default",
        "chatq:fair:p.default",
        "chatq:aside:p.default",
        "chatq:slots:account:p",
        "chatq:hungry:account:p",
        "chatq:hungry-lots:account:p",
        "chatq:slotted",
    ],
)
async def test_broken_books_do_not_stop_a_release(bench: Bench, key: str) -> None:
    """The worker hears what became of its jobs, and they are queued again."""
    await bench.submit("a", "b")
    grants = await bench.claim()
    bench.raw.delete(key)
    bench.raw.xadd(key, {"no": "book"})
    assert [await bench.give_back(grant, "drain") for grant in grants] == ["ok", "ok"]
    bench.raw.delete(key)
    assert sorted(grant.job_id for grant in await bench.claim()) == ["a", "b"]


async def test_broken_counter_does_not_stop_a_release(bench: Bench) -> None:
    """A field that is no number counts from zero."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    bench.raw.hset("rq:job:a", "cq_limited", "x")
    assert await bench.give_back(grant, "rate_limited", delay_ms=60_000) == "ok"
    assert bench.raw.hget("rq:job:a", "cq_limited") == "1"


async def test_finalize_stores_the_neighbours(bench: Bench) -> None:
    """One broken hash in a group leaves the other outcomes stored and told."""
    await bench.submit("bad", "good")
    bad, good = await bench.claim()
    bench.raw.set("rq:job:bad", "no hash", ex=60)
    assert [await bench.end(bad), await bench.end(good)] == ["broken", "ok"]


async def test_rescue_takes_back_the_neighbours(bench: Bench) -> None:
    """Garbage among the leases goes; the jobs beside it are queued again."""
    await bench.submit("a", "b", "c")
    await bench.claim()
    bench.raw.set("rq:job:b", "no hash", ex=60)
    bench.expire_leases()
    bench.raw.zadd("chatq:leases", {"garbage": 1, b"\xff:1": 1})
    back, *_ = await bench.keeper().rescue()
    assert sorted(back) == ["a", "c"]
    assert bench.raw.exists("chatq:leases") == 0


async def test_vanished_job_leaves_no_running_entry(bench: Bench) -> None:
    """Finalize, release and rescue each clean up after a hash that is gone."""
    await bench.submit("a", "b", "c")
    a, b, _ = await bench.claim()
    for job_id in "abc":
        bench.raw.delete(f"rq:job:{job_id}")
    assert [await bench.end(a), await bench.give_back(b)] == ["gone", "gone"]
    bench.expire_leases()
    await bench.keeper().rescue()
    assert nothing_held(bench)
    assert await bench.keeper().is_empty()


async def test_rqs_cancel_ends_the_lease(bench: Bench) -> None:
    """The worker hears at its next renewal that the job was cancelled by RQ itself."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    bench.raw.hset("rq:job:a", "status", "canceled")
    lost = await bench.store.run("extend_leases", [30_000, grant.member])
    assert lost == [grant.member.encode(), b"canceled"]
    assert await bench.end(grant, "stopped") == "revoked"


@pytest.mark.parametrize(("ttl", "kept_s"), [("-1", 31_622_400), ("0", 86_400), ("x", 86_400), ("1.5", 1)])
async def test_odd_ttl_never_deletes_an_answer(bench: Bench, ttl: str, kept_s: int) -> None:
    """RQ's -1 means for ever: a year. What is no TTL is a day."""
    await bench.submit("a")
    bench.raw.hset("rq:job:a", "result_ttl", ttl)
    (grant,) = await bench.claim()
    assert await bench.end(grant) == "ok"
    assert bench.raw.ttl("rq:job:a") in (kept_s, kept_s - 1)


async def test_running_job_does_not_expire(bench: Bench) -> None:
    """The ttl of a job that plain RQ enqueued is for the time in the queue."""
    await bench.submit("a")
    bench.raw.hdel("rq:job:a", "cq_cost")
    bench.raw.expire("rq:job:a", 5)
    await bench.claim()
    assert bench.raw.ttl("rq:job:a") == -1


async def test_requeued_job_starts_anew(bench: Bench) -> None:
    """RQ's requeue of a failed job gives it all its attempts again."""
    await bench.submit("a", max_attempts=1)
    (grant,) = await bench.claim()
    await bench.end(grant, "failed")
    bench.raw.hset("rq:job:a", "status", "queued")
    bench.raw.rpush("rq:queue:p.default", "a")
    (again,) = await bench.claim()
    assert again.attempts == 1
    assert bench.raw.hget("rq:job:a", "cq_state") is None


async def test_drains_give_back_ten_attempts(bench: Bench) -> None:
    """A job that every rolling restart interrupts is not called for ever."""
    await bench.submit("a")
    for _ in range(11):
        (grant,) = await bench.claim()
        await bench.give_back(grant, "drain", gives_attempt_back=True)
    assert bench.raw.hget("rq:job:a", "cq_attempts") == "1"


async def test_janitor_passes_over_garbage(bench: Bench) -> None:
    """Bytes that are no text in a registry are swept like any other entry."""
    bench.raw.zadd("rq:canceled:p.default", {b"\xff": 1})
    bench.raw.zadd("rq:failed:p.default", {b"\xff": 1})
    store: Store = bench.store
    await trim_registries(store, ["p.default"], failure_ttl_s=60)
    assert bench.raw.exists("rq:canceled:p.default", "rq:failed:p.default") == 0


@pytest.mark.parametrize("word", ["READONLY", "MISCONF", "NOREPLICAS", "BUSY", "MASTERDOWN", "LOADING"])
def test_passing_error_inside_a_script_is_passing(word: str) -> None:
    """Servers below 7.0 wrap it; a paid answer must not be thrown away for it."""
    wrapped = f"Error running script (call to f_1): @user_script: 5: -{word} You cannot do that now."
    assert is_passing(ResponseError(wrapped))
    assert is_passing(ResponseError(f"{word} You cannot do that now."))


def test_data_error_is_final() -> None:
    """Sending it again would change nothing."""
    assert not is_passing(ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"))
