"""enqueue_jobs: one test per code it returns."""

from __future__ import annotations

from shared.errors import StoreFull
from shared.store.jobs import Accepted
from tests.shared.store.conftest import Bench


async def test_new_job_is_queued_once(bench: Bench) -> None:
    """A new id gets a hash and one list entry."""
    assert await bench.submit("a") == [Accepted.NEW]
    assert bench.raw.lrange("rq:queue:p.default", 0, -1) == ["a"]
    assert bench.status("a") == "queued"


async def test_same_job_sent_twice_is_known(bench: Bench) -> None:
    """A lost reply and a second send leave one entry."""
    await bench.submit("a")
    assert await bench.submit("a") == [Accepted.KNOWN]
    assert bench.raw.llen("rq:queue:p.default") == 1


async def test_other_body_under_same_id_conflicts(bench: Bench) -> None:
    """The first body stays."""
    await bench.submit("a")
    other = bench.new("a", request=b'{"model":"m","messages":[]}')
    assert (await bench.jobs.enqueue([other])).codes == [Accepted.CONFLICT]


async def test_ended_job_is_reported_as_ended(bench: Bench) -> None:
    """Submitting again after the end finds the outcome instead of running again."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.end(grant)
    assert await bench.submit("a") == [Accepted.ENDED]
    assert bench.raw.llen("rq:queue:p.default") == 0


async def test_push_on_empty_queue_wakes_workers(bench: Bench) -> None:
    """Only the push that ends the emptiness publishes."""
    pubsub = bench.raw.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe("chatq:wake")
    pubsub.get_message(timeout=5)
    await bench.submit("a")
    await bench.submit("b")
    message = pubsub.get_message(timeout=5)
    assert message is not None
    assert message["data"] == "p.default"
    assert pubsub.get_message(timeout=0) is None
    pubsub.close()


async def test_full_server_refuses_new_jobs(bench: Bench) -> None:
    """Over maxmemory nothing is written and the error is typed."""
    bench.raw.config_set("maxmemory", 1)
    try:
        await bench.submit("a")
    except StoreFull as exc:
        assert "maxmemory" in str(exc)
    else:
        raise AssertionError("the job was accepted")
    finally:
        bench.raw.config_set("maxmemory", 0)
    assert bench.raw.keys("rq:*") == []


async def test_ten_thousand_jobs_go_in_chunks(bench: Bench) -> None:
    """No Lua stack limit is met, and the order is kept."""
    ids = [f"j{n:05}" for n in range(10_000)]
    await bench.submit(*ids)
    assert bench.raw.lrange("rq:queue:p.default", 0, -1) == ids


async def test_watch_tells_each_kind_of_job(bench: Bench) -> None:
    """Unfinished, ended and unknown jobs are told apart."""
    await bench.submit("a", "b")
    (grant, _) = await bench.claim()
    await bench.end(grant)
    assert await bench.jobs.watch(["a", "b", "nobody"], channel="c") == [2, 0, -1]


async def test_watch_keeps_newest_eight_channels(bench: Bench) -> None:
    """The list of waiters on a job is bounded."""
    await bench.submit("a")
    for n in range(10):
        await bench.jobs.watch(["a"], channel=f"c{n}")
    assert bench.raw.hget("rq:job:a", "cq_notify") == " ".join(f"c{n}" for n in range(2, 10))
