"""What a waiter is told of a job's end: the job as a reader would find it, where it is not too large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import redis

from shared.job import Job, JobState
from shared.store.grants import Outcome
from shared.store.reading import read_ended
from tests.shared.store.conftest import Bench

CHANNEL = "chatq:answers:ab12"


@pytest.fixture
def told(bench: Bench) -> Iterator[redis.client.PubSub]:
    """A subscription of that channel, binary as the reader's."""
    with redis.Redis.from_url(bench.store.url, protocol=2) as client:
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        pubsub.subscribe(CHANNEL)
        pubsub.get_message(timeout=5)
        yield pubsub
        pubsub.close()


def next_of(told: redis.client.PubSub) -> tuple[list[str], Job | None]:
    """The ids and the job; what is known of it at once is the same as what is read."""
    message: Any = told.get_message(timeout=5)
    ids, seen = read_ended(message["data"])
    job = seen and seen.read()
    assert seen is None or seen[:3] == (job.id, job.state, job.response)
    return ids, job


async def test_answer_comes_along(bench: Bench, told: redis.client.PubSub) -> None:
    """Every field of it, whatever bytes are in them."""
    await bench.jobs.enqueue([bench.new("a"), bench.new("b")], channel=CHANNEL)
    value = orjson.dumps({"choices": [], "text": "ü\n 12 - ", "chatq": {"provider": "p"}})
    for grant in await bench.claim():
        await bench.worker().finalize([Outcome(grant, "completed", value, b"{}", b"{}")], retry_s=5)
    for job_id in ("a", "b"):
        ids, job = next_of(told)
        assert ids == [job_id]
        assert job is not None
        assert job.response == orjson.loads(value)
        assert [job] == await bench.jobs.read([job_id])


async def test_error_comes_along(bench: Bench, told: redis.client.PubSub) -> None:
    await bench.jobs.enqueue([bench.new("a")], channel=CHANNEL)
    (grant,) = await bench.claim()
    error = b'{"code":"boom","message":"no"}'
    await bench.worker().finalize([Outcome(grant, "failed", error, b'{"attempt":1}', b"{}")], retry_s=5)
    ids, job = next_of(told)
    assert (ids, [job]) == (["a"], await bench.jobs.read(["a"]))
    assert job is not None
    assert job.error is not None
    assert job.error.code == "boom"


async def test_cancelled_job_comes_along(bench: Bench, told: redis.client.PubSub) -> None:
    await bench.jobs.enqueue([bench.new("a")], channel=CHANNEL)
    await bench.jobs.cancel(["a"])
    ids, job = next_of(told)
    assert ids == ["a"]
    assert job is not None
    assert job.state is JobState.CANCELLED


@pytest.mark.parametrize(("size", "comes"), [(16_000, True), (17_000, False)])
async def test_long_answer_is_left_to_be_read(
    bench: Bench, told: redis.client.PubSub, size: int, comes: bool
) -> None:
    """Buffers of subscribers are bounded: only its id is told."""
    await bench.jobs.enqueue([bench.new("a")], channel=CHANNEL)
    (grant,) = await bench.claim()
    value = orjson.dumps({"text": "x" * size})
    await bench.worker().finalize([Outcome(grant, "completed", value, b"", b"{}")], retry_s=5)
    ids, job = next_of(told)
    assert ids == ["a"]
    assert (job is not None) is comes


async def test_long_history_is_left_to_be_read(bench: Bench, told: redis.client.PubSub) -> None:
    """The same for what else is large."""
    await bench.jobs.enqueue([bench.new("a")], channel=CHANNEL)
    (grant,) = await bench.claim()
    bench.raw.hset("rq:job:a", "cq_tries", "x" * 33_000)
    await bench.worker().finalize([Outcome(grant, "completed", b'{"a":1}', b"", b"{}")], retry_s=5)
    assert next_of(told) == (["a"], None)


async def test_channels_of_pieces_carry_ids(bench: Bench, told: redis.client.PubSub) -> None:
    """Beside the channel of answers stands one for pieces of streams, which is read otherwise."""
    await bench.jobs.enqueue([bench.new("a")], channel=f"{CHANNEL}:deltas")
    told.subscribe(f"{CHANNEL}:deltas")
    told.get_message(timeout=5)
    (grant,) = await bench.claim()
    await bench.worker().finalize([Outcome(grant, "completed", b'{"a":1}', b"", b"{}")], retry_s=5)
    message: Any = told.get_message(timeout=5)
    assert message["data"] == b"a"


FIELDS = 14


def message(job_id: str, *fields: bytes | None) -> bytes:
    lengths = " ".join("-" if field is None else str(len(field)) for field in fields)
    return f"{job_id} {lengths}\n".encode() + b"".join(field or b"" for field in fields)


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a b c", ["a", "b", "c"]),
        (b"a 1 2\nxyz", ["a"]),
        (b"a" + b" 1" * FIELDS + b"\nshort", ["a"]),
        (b"a" + b" -1" * FIELDS + b"\nx", ["a"]),
        (b"a" + b" 99999999999999999999" * FIELDS + b"\nx", ["a"]),
        (b"a " + "² ".encode() * FIELDS + b"\nx", ["a"]),
        (b"\xff\xfe\n\xff", ["��"]),
        (b"\nx", []),
        (message("a", b"queued", *[None] * (FIELDS - 1)), ["a"]),
        (message("a", b"finished", *[None] * (FIELDS - 1)), ["a"]),
    ],
)
def test_anything_else_is_a_reason_to_look(data: bytes, ids: list[str]) -> None:
    """Anybody can publish: no job comes out of what no script of ours wrote, nor of one that has not ended."""
    assert read_ended(data) == (ids, None)
