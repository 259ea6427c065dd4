"""The enqueuer: batches in order, and nothing of a caller that has gone is left behind."""

from __future__ import annotations

import asyncio

import pytest

from producer import Producer, Submission
from shared.providers import ProviderRegistry
from shared.settings import Settings
from shared.store.jobs import BATCH

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("jobs", [0, 1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH])
async def test_each_submission_has_its_result(producer: Producer, jobs: int) -> None:
    """In order, also where one is refused at each batch's end."""
    bad = Submission(CHAT, lane="bogus")
    submissions = [
        bad if n % BATCH == BATCH - 1 else Submission(CHAT, idempotency_key=f"key-{n}") for n in range(jobs)
    ]
    results = await producer.submit_many(submissions)
    ids = [result for result in results if isinstance(result, str)]
    assert len(results) == jobs
    assert [n for n, result in enumerate(results) if not isinstance(result, str)] == list(
        range(BATCH - 1, jobs, BATCH)
    )
    keys = [submission.idempotency_key for submission in submissions if submission is not bad]
    again = await producer.submit_many([Submission(CHAT, idempotency_key=key) for key in keys])
    assert again == ids


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_cancelled_submit_ends_with_its_caller(
    settings: Settings, registry: ProviderRegistry, turns: int
) -> None:
    """Wherever it was: no task is left that would open a connection after the producer has closed its own."""
    others = asyncio.all_tasks()
    async with Producer.open(settings, registry=registry) as producer:
        submitting = asyncio.create_task(producer.submit_many([Submission(CHAT)] * (4 * BATCH)))
        for _ in range(turns):
            await asyncio.sleep(0)
        submitting.cancel()
    await asyncio.wait([submitting])
    assert asyncio.all_tasks() == others
