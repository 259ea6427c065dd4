"""Bounds on waiting work: what is refused, what the refusal tells, and what it leaves untouched."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.settings import AdmissionSettings, LaneBounds
from shared.store import rq_layout
from shared.store.jobs import Accepted
from tests.shared.store.conftest import REQUEST, Bench, open_bench
from tests.support import RedisServer

NEW, KNOWN, ENDED, REFUSED = Accepted.NEW, Accepted.KNOWN, Accepted.ENDED, Accepted.REFUSED


@pytest.fixture
async def bounded(any_redis_url: str, any_redis_server: RedisServer) -> AsyncIterator[Bench]:
    """Three jobs in the default lane, 2000 bytes in the interactive one, a minute in the batch lane."""
    bounds = AdmissionSettings(
        default=LaneBounds(max_jobs=3),
        interactive=LaneBounds(max_bytes=2000),
        batch=LaneBounds(max_age_s=60),
    )
    async with open_bench(any_redis_server, bounds=bounds) as opened:
        yield opened


async def test_jobs_beyond_the_bound_are_refused(bounded: Bench) -> None:
    """What fits is taken, and nothing is written of the rest."""
    assert await bounded.submit(*"abcde") == [NEW, NEW, NEW, REFUSED, REFUSED]
    assert bounded.raw.exists("rq:job:d", "rq:job:e") == 0
    assert bounded.raw.lrange("rq:queue:p.default", 0, -1) == ["a", "b", "c"]


async def test_refusal_tells_bound_and_fill(bounded: Bench) -> None:
    """Nothing has drained, so nobody knows when it is worth trying again."""
    enqueued = await bounded.jobs.enqueue([bounded.new(i) for i in "abcd"])
    (refusal,) = enqueued.refusals.values()
    assert (
        refusal.queue,
        refusal.bound,
        refusal.there,
        refusal.retry_after_s,
    ) == ("p.default", "jobs", 3.0, None)


async def test_retry_time_follows_the_drain_rate(bounded: Bench) -> None:
    """Thirty ended in this minute and the last: one place in 2 to 4 s."""
    for n in range(30):
        await bounded.submit(f"j{n}")
        await bounded.answer(*await bounded.claim())
    await bounded.submit(*"abc")
    enqueued = await bounded.jobs.enqueue([bounded.new("d")])
    retry_s = enqueued.refusals["p.default"].retry_after_s
    assert retry_s is not None
    assert 2 <= retry_s <= 4.1


async def test_full_queue_refuses_for_itself_alone(bounded: Bench) -> None:
    """Other lanes and providers take what comes in the same batch."""
    await bounded.submit(*"abc")
    jobs = [
        bounded.new("d"),
        bounded.new("e", queue="q.default"),
        bounded.new("f", queue="p.batch"),
        bounded.new("g"),
    ]
    assert (await bounded.jobs.enqueue(jobs)).codes == [REFUSED, NEW, NEW, REFUSED]


async def test_known_jobs_are_answered_when_full(bounded: Bench) -> None:
    """Handing in again is how a lost reply is resolved."""
    await bounded.submit("z")
    (grant,) = await bounded.claim()
    await bounded.answer(grant)
    await bounded.submit(*"abc")
    assert await bounded.submit(*"abcz") == [KNOWN, KNOWN, KNOWN, ENDED]


async def test_running_jobs_do_not_wait(bounded: Bench) -> None:
    """A claim makes room."""
    await bounded.submit(*"abc")
    await bounded.claim(2)
    assert await bounded.submit(*"def") == [NEW, NEW, REFUSED]


async def test_parked_jobs_wait_too(bounded: Bench) -> None:
    """Those that wait for their backoff, and those put aside for their model."""
    await bounded.limits.set("model:p/slow", {"concurrency": 1})
    await bounded.submit("a", "b", "c", model="slow")
    (grant,) = await bounded.claim()
    await bounded.give_back(grant, delay_ms=60_000)
    assert bounded.raw.llen("rq:queue:p.default") == 0
    assert await bounded.submit("d") == [REFUSED]


async def test_bytes_beyond_the_bound_are_refused(bounded: Bench) -> None:
    """Of all unfinished jobs, running ones included; a small one still fits after a large one did not."""
    padded = b'{"pad":"%s"}' % (b"x" * 1500)
    queue = "p.interactive"
    assert await bounded.submit("a", queue=queue, request=padded) == [NEW]
    (grant,) = await bounded.claim()
    enqueued = await bounded.jobs.enqueue([bounded.new("b", queue=queue, request=padded)])
    assert (enqueued.codes, enqueued.refusals[queue].bound) == ([REFUSED], "bytes")
    assert enqueued.refusals[queue].there == len(padded)
    assert await bounded.submit("c", queue=queue) == [NEW]
    await bounded.answer(grant)
    assert int(bounded.raw.hget("chatq:payload", queue) or 0) == len(REQUEST)
    assert await bounded.submit("b", queue=queue, request=padded) == [NEW]


async def test_old_queue_is_refused(bounded: Bench) -> None:
    """When its head has waited longer than the bound."""
    await bounded.submit("a", queue="p.batch")
    make_older(bounded, "a", 50)
    assert await bounded.submit("b", queue="p.batch") == [NEW]
    make_older(bounded, "a", 61)
    enqueued = await bounded.jobs.enqueue([bounded.new("c", queue="p.batch")])
    assert (enqueued.codes, enqueued.refusals["p.batch"].bound) == ([REFUSED], "age")
    assert enqueued.refusals["p.batch"].there == pytest.approx(61_000, abs=1000)
    await bounded.claim(1)
    assert await bounded.submit("c", queue="p.batch") == [NEW]


async def test_job_put_aside_counts_with_its_age(bounded: Bench) -> None:
    """It is no younger for standing in a lot."""
    await bounded.limits.set("model:p/m", {"concurrency": 1})
    await bounded.submit("a", "b", queue="p.batch")
    await bounded.claim()
    assert bounded.raw.llen("rq:queue:p.batch") == 0
    make_older(bounded, "b", 61)
    assert await bounded.submit("c", queue="p.batch") == [REFUSED]


async def test_ended_job_at_the_head_has_no_age(bounded: Bench) -> None:
    """A tombstone does not wait."""
    await bounded.submit("a", queue="p.batch")
    make_older(bounded, "a", 61)
    await bounded.jobs.cancel(["a"])
    assert await bounded.submit("b", queue="p.batch") == [NEW]


async def test_broken_job_at_the_head_has_no_age(bounded: Bench) -> None:
    """A key that is no hash must not keep new work out."""
    await bounded.submit("a", queue="p.batch")
    bounded.raw.set("rq:job:a", "no hash", ex=60)
    assert await bounded.submit("b", queue="p.batch") == [NEW]


async def test_nothing_is_bounded_by_default(bench: Bench) -> None:
    """Only Redis's own memory is."""
    assert set(await bench.submit(*(f"j{n}" for n in range(500)))) == {NEW}


def make_older(bench: Bench, job_id: str, age_s: float) -> None:
    seconds, _ = bench.raw.time()
    bench.raw.hset(f"rq:job:{job_id}", "created_at", rq_layout.format_date(seconds - age_s))
