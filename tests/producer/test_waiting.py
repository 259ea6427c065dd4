"""Waiting: a push, not a poll; and nothing is missed when the push is."""

from __future__ import annotations

import asyncio

import pytest
import redis

from producer import JobState, Lane, Producer, Submission, SyncProducer
from shared.errors import InvalidRequest, JobNotFound, WaitTimeout
from shared.providers import ProviderRegistry
from shared.settings import Settings
from tests.support import RedisServer, WorkerRunner

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def raw(redis_server: RedisServer, redis_url: str) -> redis.Redis:
    return redis_server.client()


async def test_thousand_waiters_share_one_subscription(producer: Producer, raw: redis.Redis) -> None:
    """The number of waiters costs no connections."""
    ids = [str(i) for i in await producer.submit_many(Submission(CHAT) for _ in range(1000))]
    waits = [asyncio.create_task(producer.wait(job_id, timeout_s=20)) for job_id in ids]
    await asyncio.gather(*(producer.cancel(job_id) for job_id in ids))
    jobs = await asyncio.gather(*waits)
    assert {job.state for job in jobs} == {JobState.CANCELLED}
    assert len(raw.client_list(_type="pubsub")) == 1


async def test_two_waiters_of_one_job_are_both_told(producer: Producer) -> None:
    """Waiting takes nothing away from the other."""
    job_id = await producer.submit(CHAT)
    waits = [asyncio.create_task(producer.wait(job_id, timeout_s=20)) for _ in range(2)]
    await producer.cancel(job_id)
    assert [job.state for job in await asyncio.gather(*waits)] == [JobState.CANCELLED] * 2


async def test_cut_subscription_loses_no_wait(producer: Producer, raw: redis.Redis) -> None:
    """Whatever was published while it was down is looked up when it is back."""
    job_id = await producer.submit(CHAT)
    wait = asyncio.create_task(producer.wait(job_id, timeout_s=20))
    while not raw.hget(f"rq:job:{job_id}", "cq_notify"):
        await asyncio.sleep(0)
    raw.client_kill_filter(_type="pubsub")
    await producer.cancel(job_id)
    assert (await wait).state is JobState.CANCELLED


async def test_ended_job_needs_no_wait(producer: Producer) -> None:
    """Registering tells that it is over."""
    job_id = await producer.submit(CHAT)
    await producer.cancel(job_id)
    assert (await producer.wait(job_id, timeout_s=5)).state is JobState.CANCELLED


async def test_unknown_job_is_not_waited_for(producer: Producer) -> None:
    """The error comes at once, not at the time-out."""
    with pytest.raises(JobNotFound):
        await producer.wait("nobody", timeout_s=20)


async def test_vanished_job_ends_the_wait(producer: Producer, raw: redis.Redis) -> None:
    """A job whose data Redis lost is reported as not found at the next slow poll."""
    job_id = await producer.submit(CHAT)
    wait = asyncio.create_task(producer.wait(job_id, timeout_s=30))
    while not raw.hget(f"rq:job:{job_id}", "cq_notify"):
        await asyncio.sleep(0)
    raw.flushall()
    raw.client_kill_filter(_type="pubsub")
    with pytest.raises(JobNotFound):
        await wait


async def test_watch_delivers_known_outcomes(producer: Producer) -> None:
    """A job that ended before, found again by its key, is delivered like a new one; and once."""
    job_id = await producer.submit(CHAT, idempotency_key="k")
    await producer.cancel(job_id)
    async with producer.watch() as watch:
        again = [Submission(CHAT, idempotency_key="k"), Submission(CHAT, idempotency_key="k")]
        assert await watch.submit_many(again) == [job_id, job_id]
        assert [job.id async for job in watch] == [job_id]
        assert watch.pending == 0


async def test_watch_leaves_rejections_out(producer: Producer) -> None:
    """A conflict or an invalid request is an answer to the submit, not a job to wait for."""
    await producer.submit(CHAT, idempotency_key="k")
    async with producer.watch() as watch:
        other = {**CHAT, "seed": 1}
        results = await watch.submit_many([Submission(other, idempotency_key="k"), Submission({})])
        assert [type(r).__name__ for r in results] == ["IdempotencyConflict", "InvalidRequest"]
        assert watch.pending == 0
        assert await watch.next_batch(timeout_s=0.01) == []


async def test_forgotten_job_is_gone(producer: Producer) -> None:
    """What has been collected need not be kept; what has not ended stays."""
    ended, waiting = await producer.submit(CHAT), await producer.submit(CHAT)
    await producer.cancel(ended)
    assert await producer.forget([ended, waiting]) == 1
    with pytest.raises(JobNotFound):
        await producer.get(ended)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"source": "a\nb"}, "source"),
        ({"source": ""}, "source"),
        ({"client": "ü"}, "client"),
        ({"metadata": {"x": object()}}, "metadata"),
        ({"metadata": {"x": "y" * 20_000}}, "metadata"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"max_attempts": 0}, "max_attempts"),
    ],
)
async def test_bad_option_names_its_field(producer: Producer, options: dict[str, object], field: str) -> None:
    """The error says which, and no job is made."""
    with pytest.raises(InvalidRequest) as caught:
        await producer.submit(CHAT, **options)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert (await producer.status()).totals == {}


def test_sync_producer_does_the_same(
    settings: Settings, registry: ProviderRegistry, workers: WorkerRunner
) -> None:
    """Every call, without an event loop of one's own."""
    with SyncProducer(settings, registry=registry) as producer:
        job_id = producer.submit(CHAT, lane=Lane.INTERACTIVE)
        assert producer.get(job_id).state is JobState.QUEUED
        with pytest.raises(WaitTimeout):
            producer.wait(job_id, timeout_s=0.01)
        assert producer.cancel(job_id) is JobState.CANCELLED
        (other,) = producer.submit_many([Submission(CHAT)])
        assert [job and job.state for job in producer.get_many([job_id, str(other)])] == [
            JobState.CANCELLED, JobState.QUEUED,
        ]  # fmt: skip
        assert producer.forget([job_id]) == 1
        assert producer.status().totals["accepted"] == 2
