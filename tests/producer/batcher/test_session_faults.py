"""A batch meets a file store or a Redis that fails, and another batcher: it goes on later, with nothing lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from producer.batch.line_cost import NOTHING
from producer.batch.outcome import Ended, LineRef
from producer.batch.tally import Tally
from producer.batcher import batcher as batcher_module
from producer.batcher.records import LineRecords
from producer.batcher.segments import LeaseLost, SegmentOutput, recorded
from producer.files.blobs import Blobs
from shared.errors import FilesUnavailable
from shared.job import JobState
from shared.store.batch_record import Progress
from shared.store.batches import Lease
from tests.producer.batch.memory_client import job

from .conftest import RunBatcher
from .desk import Desk, line


async def leased(desk: Desk) -> Lease:
    await desk.submit(line(1))
    found = await desk.batches.claim(lease_s=30)
    assert found is not None
    return Lease(desk.store, *found, lease_s=30)


def output_of(desk: Desk, lease: Lease, *, there: int = 0) -> SegmentOutput:
    records = LineRecords(lease.batch_id.removeprefix("batch_"))
    return SegmentOutput(desk.blobs, lease, records, Progress(total=9), Tally(), there=there)


def outcome(number: int, state: JobState = JobState.COMPLETED) -> Ended:
    usage = {"input_total": 2, "input_cached": 1, "output_total": 3, "reasoning": 1}
    response = {"id": "x", "choices": [], "chatq": {"usage": usage}} if state is JobState.COMPLETED else None
    return Ended(LineRef(number, f"id-{number}"), job(f"j{number}", state, response=response), NOTHING)


async def test_recorded_lines_are_read_back(desk: Desk) -> None:
    """Answers and errors in segments of their own, with the counts that go with them."""
    lease = await leased(desk)
    output = output_of(desk, lease)
    await output.append([outcome(1), outcome(2, JobState.CANCELLED)])
    await output.append([outcome(3)])
    segments = await desk.batches.segments(lease.batch_id)
    assert [one.kind for one in segments] == ["o", "e", "o"]
    heads = recorded(desk.blobs, [one.blob for one in segments])
    assert [(head.number, head.custom_id) for head in heads] == [(1, "id-1"), (2, "id-2"), (3, "id-3")]
    progress = (await desk.get(lease.batch_id)).progress
    assert (progress.completed, progress.failed, progress.errors) == (2, 1, {"batch_cancelled": 1})
    tokens = progress.input_tokens, progress.cached_tokens, progress.output_tokens, progress.reasoning_tokens
    assert tokens == (4, 2, 6, 2)
    assert progress.output_bytes == sum(one.bytes for one in segments if one.kind == "o")


async def test_segment_of_a_lost_lease_does_not_count(desk: Desk) -> None:
    """The batcher that took over records the lines."""
    lease = await leased(desk)
    await desk.store.client.zadd("chatq:batches:open", {lease.batch_id: 1})
    assert await desk.batches.claim(lease_s=30)
    with pytest.raises(LeaseLost):
        await output_of(desk, lease).append([outcome(1)])
    assert await desk.batches.segments(lease.batch_id) == []


async def test_many_segments_make_longer_groups(desk: Desk) -> None:
    """A slow batch must not end up with a segment a line."""
    lease = await leased(desk)
    pauses = [output_of(desk, lease, there=there).pause_s for there in (0, 100, 10_000)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.2 < pauses[1] < pauses[2] == 10.0


async def test_strange_segment_is_no_record(desk: Desk) -> None:
    """Better a batch that stands still than lines asked twice."""
    for content in (b"text\n", b'{"id":"batch_req_'):
        await desk.blobs.put("segments/x", content)
        with pytest.raises(FilesUnavailable):
            list(recorded(desk.blobs, ["segments/x"]))


class FailingBlobs(Blobs):
    """Fails a few times, then works."""

    failures = 3

    async def put(self, name: str, data: bytes) -> None:
        if self.failures:
            self.failures -= 1
            raise FilesUnavailable("no room")
        await super().put(name, data)


async def test_file_store_that_fails_is_tried_again(
    desk: Desk, run_batcher: RunBatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is given back, taken again, and complete in the end."""
    monkeypatch.setattr(batcher_module, "OUTAGE_PAUSE_S", 0.01)
    record = await desk.upload(line(1))
    desk.blobs.__class__ = FailingBlobs
    assert record.size
    async with run_batcher():
        batch_id = await desk.submit_file(record)
        batch = await desk.ended(batch_id)
    assert (batch.status, await desk.outcomes(batch)) == ("completed", ["id-1"])


class ForgetfulBlobs(Blobs):
    """Loses what a batch has recorded."""

    async def put(self, name: str, data: bytes) -> None:
        await super().put(name, data)
        await self.delete([name])


async def test_results_that_are_lost_fail_the_batch(desk: Desk, run_batcher: RunBatcher) -> None:
    """It would be tried for ever otherwise."""
    record = await desk.upload(line(1))
    desk.blobs.__class__ = ForgetfulBlobs
    async with run_batcher():
        batch = await desk.ended(await desk.submit_file(record))
    assert (batch.status, [one["code"] for one in batch.errors]) == ("failed", ["content_missing"])


async def test_batcher_that_lost_its_batch_lets_go(desk: Desk, run_batcher: RunBatcher, client: Any) -> None:
    """It was silent for too long; what it does then is nobody's loss."""
    client.is_stalled = True
    async with run_batcher():
        batch_id = await desk.submit(*map(line, range(20)))
        await desk.when(batch_id, lambda one: one.status == "in_progress")
        await desk.store.client.zadd("chatq:batches:open", {batch_id: 1})
        taken = await desk.batches.claim(lease_s=30)
        assert taken is not None
        client.is_stalled = False
        await asyncio.sleep(0)
    assert (await desk.get(batch_id)).status == "in_progress"
    lease = Lease(desk.store, *taken, lease_s=30)
    assert (await lease.renew()).is_held
    await lease.give_back()
    async with run_batcher():
        batch = await desk.ended(batch_id)
    assert await desk.outcomes(batch) == sorted(f"id-{n}" for n in range(20))
