"""Dead letters: found, given another life, and on another candidate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.job import Job, JobState
from shared.store import rq_layout
from shared.store.dead import PAGE, DeadLetters, Replay
from shared.store.jobs import Cost
from tests.shared.store.conftest import REQUEST, Bench


@pytest.fixture
def letters(bench: Bench) -> DeadLetters:
    return DeadLetters(bench.store)


async def kill(bench: Bench, *ids: str, code: str = "refused", **fields: Any) -> None:
    """Jobs that fail at their first call."""
    await bench.submit(*ids, **fields)
    while grants := await bench.claim(want=64):
        for grant in grants:
            await bench.end(grant, "failed", value=b'{"code":"%s","message":"no"}' % code.encode())


def to(*candidates: Any) -> Replay:
    """Job `a`, going on."""
    return Replay("a", "p.batch", b'{"model":"asked"}', Cost(77, 10, 42, "alice", "m"), candidates)


async def newest(letters: DeadLetters, *queues: str) -> list[str]:
    return [job.id async for page in letters.newest(queues) for job in page]


async def everything(letters: DeadLetters, *queues: str) -> list[Job]:
    return [job async for page in letters.all(queues) for job in page]


async def test_newest_come_first_over_all_queues(bench: Bench, letters: DeadLetters) -> None:
    """In the order of their ends."""
    for at, (job_id, queue) in enumerate((("a", "p.default"), ("b", "p.batch"), ("c", "p.default"))):
        await kill(bench, job_id, queue=queue)
        bench.raw.zadd(f"rq:failed:{queue}", {job_id: 4e9 + at})
    assert await letters.queues() == ["p.batch", "p.default"]
    assert await newest(letters, "p.batch", "p.default") == ["c", "b", "a"]
    assert await newest(letters, "p.batch") == ["b"]


async def test_many_are_read_in_pages(bench: Bench, letters: DeadLetters) -> None:
    """Each once, though many ended in the same moment."""
    ids = [f"j{n}" for n in range(2 * PAGE + 50)]
    await kill(bench, *ids)
    bench.raw.zadd("rq:failed:p.default", dict.fromkeys(ids, 4e9))
    pages = [page async for page in letters.newest(["p.default"])]
    assert [len(page) for page in pages] == [PAGE, PAGE, 50]
    assert {job.id for page in pages for job in page} == set(ids)
    assert {job.id for job in await everything(letters, "p.default")} == set(ids)


async def test_only_dead_letters_are_read(bench: Bench, letters: DeadLetters) -> None:
    """Expired ones are; answered, cancelled and unknown ones are not, and a strange registry is empty."""
    await kill(bench, "failed")
    await bench.submit("late", expires_in_ms=1)
    while bench.status("late") == "queued":
        await bench.keeper().promote()
    await bench.submit("gone", "done")
    await bench.jobs.cancel(["gone"])
    for grant in await bench.claim():
        await bench.end(grant)
    found = await letters.read(["late", "failed", "gone", "done", "never"])
    assert [(job.id, job.state) for job in found] == [("late", JobState.EXPIRED), ("failed", JobState.FAILED)]
    bench.raw.set("rq:failed:p.interactive", "x", ex=60)
    assert await newest(letters, "p.interactive") == []
    assert await everything(letters, "p.interactive") == []
    bench.raw.delete("rq:failed:p.interactive")


async def test_replayed_job_starts_anew_at_its_first_candidate(bench: Bench, letters: DeadLetters) -> None:
    """Attempts, error and way are forgotten; record, route and cost are the new ones."""
    await kill(bench, "a", fallbacks=[("q", "n")])
    bench.raw.hset("rq:job:a", mapping={"origin": "q.default", "cq_hops": "0@0x 1@1"})
    bench.raw.zrem("rq:failed:p.default", "a")
    bench.raw.zadd("rq:failed:q.default", {"a": 4e9})
    assert await letters.replay([to(("p", "m"), ("q", "n", 70, 5))]) == ["a"]
    (job,) = await bench.jobs.read(["a"])
    assert job is not None
    assert (job.state, job.queue, job.attempts, job.error) == (JobState.QUEUED, "p.batch", 0, None)
    assert job.requested_model == "asked"
    assert bench.raw.hget("rq:job:a", "cq_cost") == "77 10 42 alice\nm"
    assert json.loads(bench.raw.hget("rq:job:a", "cq_route")) == [["p", "m"], ["q", "n", 70, 5]]
    assert [grant.job_id for grant in await bench.claim()] == ["a"]


async def test_single_candidate_needs_no_route(bench: Bench, letters: DeadLetters) -> None:
    """The one of before goes."""
    await kill(bench, "a", fallbacks=[("q", "n")])
    assert await letters.replay([to(("p", "m"))]) == ["a"]
    assert bench.raw.hget("rq:job:a", "cq_route") is None


async def test_second_replay_changes_nothing(bench: Bench, letters: DeadLetters) -> None:
    """A reply that was lost is asked for again."""
    await kill(bench, "a")
    assert await letters.replay([to(("p", "m"))]) == ["a"]
    assert await letters.replay([to(("p", "m"))]) == []
    assert bench.raw.llen("rq:queue:p.batch") == 1


async def test_letter_brings_its_request_and_its_record(bench: Bench, letters: DeadLetters) -> None:
    """What cannot be read of them is empty."""
    await kill(bench, "a", "b")
    bench.raw.hset("rq:job:b", "cq_info", "[oops")
    bench.raw.hdel("rq:job:b", "data")
    one, other = await letters.open(await letters.read(["a", "b"]))
    assert rq_layout.decode_call(one.call, max_bytes=1000) == json.loads(REQUEST)
    assert one.record["candidates"] == [["p", "m"]]
    assert (other.call, other.record) == (b"", {})
