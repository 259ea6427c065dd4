"""Whole batches, from an input file to result files; jobs end at once, or as told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import fsspec
import pytest

from producer import Producer
from producer.files.blobs import Blobs
from producer.submission import Submission
from shared.job import Job
from shared.settings import Settings
from shared.store.batch_record import Batch
from tests.producer.batch.memory_client import answer
from tests.producer.batch.queue_client import FlatEstimator, priced
from tests.support import WorkerRunner, ended, wait_until

from .conftest import RunBatcher
from .desk import RESPONSES, Desk, QuickClient, line, running_batcher


def stamps(batch: Batch) -> set[str]:
    """The states that it was in, besides `validating`."""
    return {name.removesuffix("_at") for name in batch.times}


@pytest.mark.usefixtures("batcher")
async def test_every_line_is_answered_under_its_id(desk: Desk) -> None:
    """The counts are right, all states have their time, and the answer is that of the line."""
    batch = await desk.ended(await desk.submit(*map(line, range(300))))
    assert (batch.status, stamps(batch)) == ("completed", {"in_progress", "finalizing", "completed"})
    progress = batch.progress
    assert (progress.total, progress.completed, progress.failed, progress.model) == (300, 300, 0, "ollama/m")
    assert (progress.input_tokens, progress.output_tokens) == (600, 900)
    assert await desk.outcomes(batch) == sorted(f"id-{n}" for n in range(300))
    assert batch.error_file_id is None
    one = (await desk.read(batch.output_file_id))[0]
    assert (one["response"]["status_code"], one["error"]) == (200, None)
    assert one["response"]["body"]["object"] == "chat.completion"


@pytest.mark.usefixtures("batcher")
async def test_nothing_of_an_ended_batch_stays_open(desk: Desk) -> None:
    """No lease, no segment, no blob in use; the keys that are left have a TTL."""
    batch = await desk.ended(await desk.submit(line(1)))
    assert await desk.batches.open_ids() == set()
    assert await desk.files.blobs_in_use() == set()
    assert await desk.batches.segments(batch.id) == []


@pytest.mark.usefixtures("batcher")
async def test_responses_lines_get_response_objects(desk: Desk) -> None:
    """They are asked as chat, and answered in their own shape."""
    batch = await desk.ended(
        await desk.submit(
            line(1, url=RESPONSES), line(2, url=RESPONSES, conversation="c"), endpoint=RESPONSES
        )
    )
    assert (batch.progress.completed, batch.progress.failed) == (1, 1)
    (answer,) = await desk.read(batch.output_file_id)
    body = answer["response"]["body"]
    assert (body["object"], body["status"], body["model"]) == ("response", "completed", "ollama/m")
    (refused,) = await desk.read(batch.error_file_id)
    assert refused["response"]["status_code"] == 400
    assert "conversation" in refused["response"]["body"]["error"]["message"]


@pytest.mark.usefixtures("batcher")
async def test_refused_body_is_its_own_lines_error(desk: Desk) -> None:
    """As a model server refuses it: 400, `error` null; the others are answered."""
    batch = await desk.ended(await desk.submit(line(1), line(2, temperature=9), line(3)))
    assert (batch.status, batch.progress.completed, batch.progress.failed) == ("completed", 2, 1)
    (refused,) = await desk.read(batch.error_file_id)
    assert (refused["custom_id"], refused["error"]) == ("id-2", None)
    assert refused["response"]["status_code"] == 400
    assert batch.progress.errors == {"invalid_request": 1}


@pytest.mark.usefixtures("batcher")
async def test_batch_of_failures_completes_with_an_empty_output(desk: Desk) -> None:
    """Clients take a missing output file for an unfinished batch."""
    batch = await desk.ended(await desk.submit(line(1, temperature=9)))
    assert batch.status == "completed"
    assert await desk.read(batch.output_file_id) == []
    assert len(await desk.read(batch.error_file_id)) == 1


@pytest.mark.usefixtures("batcher")
async def test_input_with_errors_fails_as_a_whole(desk: Desk) -> None:
    """Nothing is asked; each error has its line."""
    batch = await desk.ended(await desk.submit(line(1), b"{oops\n", line(1)))
    assert (batch.status, stamps(batch)) == ("failed", {"failed"})
    assert [(one["code"], one["line"]) for one in batch.errors] == [
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 3),
    ]
    assert (batch.output_file_id, batch.error_file_id) == (None, None)


@pytest.mark.usefixtures("batcher")
async def test_input_that_is_gone_fails_the_batch(desk: Desk) -> None:
    """It would be tried for ever otherwise."""
    record = await desk.upload(line(1))
    await desk.blobs.delete([record.blob])
    batch = await desk.ended(await desk.submit(line(1), only_blob=record.blob))
    assert batch.status == "failed"
    assert [one["code"] for one in batch.errors] == ["content_missing"]


@pytest.mark.usefixtures("batcher")
async def test_results_can_be_read_while_the_batch_runs(desk: Desk, client: QuickClient) -> None:
    """What ended before the workers went away is there; cancelled, it stays."""
    client.stall_after(100)
    batch_id = await desk.submit(*map(line, range(500)))
    running = await desk.when(batch_id, lambda one: one.progress.completed >= 100)
    assert len(await desk.read(running.output_file_id)) == running.progress.completed
    await desk.batches.cancel(batch_id)
    batch = await desk.ended(batch_id)
    assert batch.progress.completed >= running.progress.completed
    assert len(await desk.outcomes(batch)) == 500


@pytest.mark.usefixtures("batcher")
async def test_cancelled_batch_has_a_line_for_each(desk: Desk, client: QuickClient) -> None:
    """All that waited, in Redis or in the file, is recorded as cancelled."""
    client.is_stalled = True
    batch_id = await desk.submit(*map(line, range(5000)))
    await desk.when(batch_id, lambda one: one.status == "in_progress")
    await desk.batches.cancel(batch_id)
    assert (await desk.get(batch_id)).status == "cancelling"
    batch = await desk.ended(batch_id)
    assert (batch.status, batch.progress.errors) == ("cancelled", {"batch_cancelled": 5000})
    assert {"cancelling", "cancelled"} <= stamps(batch)
    assert len(await desk.outcomes(batch)) == 5000
    assert await desk.read(batch.output_file_id) == []
    failure = (await desk.read(batch.error_file_id))[0]
    assert (failure["response"], failure["error"]["code"]) == (None, "batch_cancelled")


@pytest.mark.usefixtures("batcher")
async def test_window_that_is_over_expires_the_rest(desk: Desk, client: QuickClient) -> None:
    """What was answered stays; what runs is dropped."""
    client.is_stalled = True
    batch = await desk.ended(await desk.submit(*map(line, range(3000)), window_s=1))
    assert (batch.status, batch.progress.errors) == ("expired", {"batch_expired": 3000})
    assert "expired" in stamps(batch)
    assert len(await desk.outcomes(batch)) == 3000


@pytest.mark.usefixtures("batcher")
async def test_jobs_end_with_the_window(desk: Desk, client: QuickClient) -> None:
    """No call begins after it."""
    client.is_stalled = True
    batch_id = await desk.submit(line(1), window_s=100)
    await wait_until(lambda: bool(client.submitted))
    (submission,) = client.submitted.values()
    assert submission.expires_in_s is not None
    assert 90 < submission.expires_in_s <= 100
    assert submission.batch == batch_id


async def test_batch_cancelled_before_anybody_took_it_ends(desk: Desk, run_batcher: RunBatcher) -> None:
    """Its lines are accounted for all the same."""
    batch_id = await desk.submit(line(1), line(2))
    await desk.batches.cancel(batch_id)
    async with run_batcher():
        batch = await desk.ended(batch_id)
    assert (batch.status, batch.progress.failed) == ("cancelled", 2)
    assert await desk.outcomes(batch) == ["id-1", "id-2"]


async def test_stopped_batcher_gives_its_batches_back(
    desk: Desk, run_batcher: RunBatcher, client: QuickClient
) -> None:
    """The next one goes on at once, and asks nothing again."""
    client.stall_after(100)
    async with run_batcher():
        batch_id = await desk.submit(*map(line, range(400)))
        await desk.when(batch_id, lambda one: one.progress.completed > 0)
    client.is_stalled = False
    assert (await desk.get(batch_id)).status == "in_progress"
    async with run_batcher():
        batch = await desk.ended(batch_id)
    assert batch.progress.completed == 400
    assert await desk.outcomes(batch) == sorted(f"id-{n}" for n in range(400))
    assert set(client.asked.values()) == {1}


async def test_cancel_keeps_what_an_earlier_session_was_given(
    desk: Desk, run_batcher: RunBatcher, client: QuickClient
) -> None:
    """Jobs that ended while no batcher was there have their answers in the output."""
    client.is_stalled = True
    async with run_batcher():
        batch_id = await desk.submit(*map(line, range(50)))
        await wait_until(lambda: len(client.jobs) == 50)
    client.is_stalled = False
    client.start()
    client.work()
    await desk.batches.cancel(batch_id)
    async with run_batcher():
        batch = await desk.ended(batch_id)
    assert (batch.status, batch.progress.completed) == ("cancelled", 50)


@pytest.mark.usefixtures("batcher")
async def test_retry_runs_the_failed_lines_only(desk: Desk, client: QuickClient) -> None:
    """By number: the input is the same file."""
    first_id = await desk.submit(line(1), line(2, temperature=9), line(3), b"\n", line(5, temperature=8))
    first = await desk.ended(first_id)
    failures = await desk.files.get(first.error_file_id or "")
    assert failures is not None
    spec = replace(first.spec, only_blob=failures.blob, retry_of=first_id)
    batch = await desk.ended(await desk.create(spec))
    assert (batch.status, batch.progress.total) == ("completed", 2)
    assert await desk.outcomes(batch) == ["id-2", "id-5"]


@pytest.mark.usefixtures("batcher")
async def test_several_batches_run_beside_each_other(desk: Desk, client: QuickClient) -> None:
    """A long one does not hold up a short one."""
    is_held = True

    def outcome(submission: Submission, job_id: str) -> Job:
        is_short = "temperature" in submission.request
        return answer(submission, job_id) if is_short or not is_held else client.jobs[job_id]

    client.outcome = outcome
    long_id = await desk.submit(*map(line, range(300)))
    await desk.when(long_id, lambda one: one.status == "in_progress")
    short = await desk.ended(await desk.submit(line(1, temperature=9)))
    assert short.status == "completed"
    assert (await desk.get(long_id)).status == "in_progress"
    is_held = False
    assert (await desk.ended(long_id)).progress.completed == 300


@pytest.mark.usefixtures("batcher")
async def test_deleted_input_does_not_break_a_running_batch(desk: Desk, client: QuickClient) -> None:
    """The record goes, the bytes stay until the batch has ended."""
    client.is_stalled = True
    batch_id = await desk.submit(*map(line, range(20)))
    batch = await desk.get(batch_id)
    record = await desk.files.get(batch.spec.input_file_id)
    assert record is not None
    assert await desk.files.delete(record)
    client.is_stalled = False
    assert (await desk.ended(batch_id)).status == "completed"


async def test_conflict_is_one_lines_error(desk: Desk, settings: Settings, client: QuickClient) -> None:
    """Another version of chatq submitted the line, and read it otherwise."""
    batch_id = await desk.submit(line(1), line(2))
    client.conflicts = {f"{batch_id}:2"}
    async with running_batcher(desk, settings, client):
        batch = await desk.ended(batch_id)
    assert (batch.status, batch.progress.completed) == ("completed", 1)
    assert list(batch.progress.errors) == ["idempotency_conflict"]


async def test_budget_of_the_client_is_kept(desk: Desk, settings: Settings, client: QuickClient) -> None:
    """What does not fit any more is not asked; its lines say so, and can be retried."""
    client.outcome = priced(1.0)
    client.concurrency = 2
    async with running_batcher(desk, settings, client, estimator=FlatEstimator("1")):
        batch = await desk.ended(await desk.submit(*map(line, range(20)), budget_usd=5.0))
    assert (batch.status, batch.progress.completed) == ("completed", 5)
    assert batch.progress.errors == {"budget_reached": 15}
    assert batch.progress.cost_usd == 5
    failure = (await desk.read(batch.error_file_id))[0]
    assert failure["response"] is None
    assert "retry the failed lines" in failure["error"]["message"]


async def test_batch_with_a_budget_can_be_cancelled(
    desk: Desk, settings: Settings, client: QuickClient
) -> None:
    """Also while lines wait for money."""
    client.is_stalled = True
    async with running_batcher(desk, settings, client, estimator=FlatEstimator("1")):
        batch_id = await desk.submit(*map(line, range(20)), budget_usd=5.0)
        await wait_until(lambda: len(client.jobs) == 5)
        await desk.batches.cancel(batch_id)
        batch = await desk.ended(batch_id)
    assert (batch.status, batch.progress.errors) == ("cancelled", {"batch_cancelled": 20})


async def test_batch_runs_on_a_store_without_paths(
    desk: Desk, settings: Settings, client: QuickClient
) -> None:
    """Nothing depends on a disk: input, segments and results are names in an object store."""
    memory = fsspec.filesystem("memory")
    desk.blobs = Blobs(memory, "/test-batches")
    async with running_batcher(desk, settings, client):
        batch = await desk.ended(await desk.submit(line(1), line(2, temperature=9)))
    assert await desk.outcomes(batch) == ["id-1", "id-2"]
    memory.rm("/test-batches", recursive=True)


async def test_real_worker_answers(
    desk: Desk, run_batcher: RunBatcher, producer: Producer, workers: WorkerRunner
) -> None:
    """Two sessions on a real queue; what the first one left there is collected by the second, not asked again."""
    async with run_batcher(producer):
        batch_id = await desk.submit(*map(line, range(200)))
        async with asyncio.timeout(20):
            while await producer.store.client.llen("rq:queue:ollama.batch") < 200:
                await asyncio.sleep(0.01)
    worker = workers.start("--burst")
    await ended(worker)
    async with run_batcher(producer):
        batch = await desk.ended(batch_id)
    assert (batch.status, batch.progress.completed) == ("completed", 200)
    assert await desk.outcomes(batch) == sorted(f"id-{n}" for n in range(200))
    assert [key async for key in producer.store.client.scan_iter("rq:job:*")] == []
