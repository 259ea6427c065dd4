"""Waiting: a push, not a poll; and nothing is missed when the push is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import redis

from producer import JobState, Producer, Submission
from shared.errors import IdempotencyConflict, JobNotFound, StoreError, StoreUnavailable, WaitTimeout
from shared.providers import ProviderRegistry
from shared.settings import Settings
from tests.support import RedisServer, wait_until

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


async def test_conflict_leaves_the_accepted_job_watched(producer: Producer) -> None:
    """The id in the conflict is that of the accepted job: it is delivered all the same."""
    other = {**CHAT, "seed": 1}
    async with producer.watch() as watch:
        (job_id,) = await watch.submit_many([Submission(CHAT, idempotency_key="k")])
        (conflict,) = await watch.submit_many([Submission(other, idempotency_key="k")])
        assert isinstance(conflict, IdempotencyConflict)
        assert watch.pending == 1
        await producer.cancel(str(job_id))
        assert [job.id for job in await watch.next_batch(timeout_s=20)] == [job_id]


async def test_conflict_within_one_call_leaves_the_job_watched(producer: Producer) -> None:
    """The same, when the conflicting submission is in the same call."""
    both = [Submission(CHAT, idempotency_key="k"), Submission({**CHAT, "seed": 1}, idempotency_key="k")]
    async with producer.watch() as watch:
        job_id, conflict = await watch.submit_many(both)
        assert isinstance(conflict, IdempotencyConflict)
        await producer.cancel(str(job_id))
        assert [job.id for job in await watch.next_batch(timeout_s=20)] == [job_id]
        assert watch.pending == 0


@pytest.fixture
async def own_producer(
    own_server: RedisServer, make_settings: Callable[..., Settings], registry: ProviderRegistry
) -> AsyncIterator[Producer]:
    """A producer on that server."""
    settings = make_settings(CHATQ_REDIS_URL=own_server.url, CHATQ_REDIS__RETRY_S="0.2")
    async with Producer.open(settings, registry=registry) as opened:
        yield opened


async def test_wait_without_redis_is_bounded(own_server: RedisServer, own_producer: Producer) -> None:
    """Nothing to subscribe to is not a job that takes its time; afterwards no task is left."""
    job_id = await own_producer.submit(CHAT)
    own_server.kill()
    async with asyncio.timeout(20):
        with pytest.raises(StoreUnavailable):
            await own_producer.wait(job_id, timeout_s=0.05)


async def test_wait_on_a_dying_redis_says_so(own_server: RedisServer, own_producer: Producer) -> None:
    """A subscription of earlier times does not help: registering has no answer."""
    job_id = await own_producer.submit(CHAT)
    with pytest.raises(WaitTimeout):
        await own_producer.wait(job_id, timeout_s=0)
    own_server.kill()
    async with asyncio.timeout(20):
        with pytest.raises(StoreUnavailable):
            await own_producer.wait(job_id, timeout_s=5)


async def test_given_up_start_is_stopped_with_the_producer(
    own_server: RedisServer, make_settings: Callable[..., Settings], registry: ProviderRegistry
) -> None:
    """Closing ends the subscription that a cancelled wait has left half-way."""
    settings = make_settings(CHATQ_REDIS_URL=own_server.url)
    tasks = asyncio.all_tasks()
    async with Producer.open(settings, registry=registry) as producer:
        own_server.kill()
        wait = asyncio.create_task(producer.wait("any"))
        await wait_until(lambda: "signals" in {task.get_name() for task in asyncio.all_tasks()})
        wait.cancel()
        await asyncio.gather(wait, return_exceptions=True)
    assert asyncio.all_tasks() == tasks


async def test_failed_add_leaves_nothing_pending(own_server: RedisServer, own_producer: Producer) -> None:
    """Jobs that could not be registered would be waited for without end; they can be added again."""
    job_id = await own_producer.submit(CHAT)
    async with own_producer.watch() as watch:
        own_server.kill()
        with pytest.raises(StoreUnavailable):
            await watch.add([job_id])
        assert watch.pending == 0


async def test_failed_batch_is_delivered_later(own_server: RedisServer, own_producer: Producer) -> None:
    """A requeued job that cannot be registered again takes no delivered job away."""
    ended, requeued = [str(i) for i in await own_producer.submit_many([Submission(CHAT), Submission(CHAT)])]
    await own_producer.cancel(ended)
    await own_producer.cancel(requeued)
    async with own_producer.watch() as watch:
        await watch.add([ended, requeued])
        with own_server.client() as raw:
            raw.hset(f"rq:job:{requeued}", "status", "queued")
            raw.execute_command("ACL SETUSER default -evalsha")
            with pytest.raises(StoreError):
                await watch.next_batch(timeout_s=20)
            raw.execute_command("ACL SETUSER default +evalsha")
        assert [job.id for job in await watch.next_batch(timeout_s=20)] == [ended]
        assert watch.pending == 1


async def test_cancel_reads_nothing_again(producer: Producer, raw: redis.Redis) -> None:
    """The script has told the state: new or as it was."""
    job_id = await producer.submit(CHAT)
    await producer.cancel(job_id)  # loads the script
    with raw.monitor() as monitor:
        monitor.listen()
        assert await producer.cancel(job_id) is JobState.CANCELLED
        raw.echo("end")
        sent = []
        while not sent or not sent[-1].startswith("ECHO"):
            command = monitor.next_command()
            sent += [command["command"]] if command["client_type"] != "lua" else []
    assert [command.split()[0] for command in sent] == ["EVALSHA", "ECHO"]


async def test_cancel_of_an_ended_job_tells_its_end(producer: Producer, raw: redis.Redis) -> None:
    """chatq's word, or RQ's where a stock worker ended it, or its status where the word is a stranger's."""
    job_id = await producer.submit(CHAT)
    key = f"rq:job:{job_id}"
    raw.expire(key, 60)
    raw.delete("rq:queue:ollama.default")
    raw.hset(key, "status", "finished")
    assert await producer.cancel(job_id) is JobState.COMPLETED
    raw.hset(key, mapping={"status": "failed", "cq_state": "expired"})
    assert await producer.cancel(job_id) is JobState.EXPIRED
    raw.hset(key, "cq_state", "melted")
    assert await producer.cancel(job_id) is JobState.FAILED
    with pytest.raises(JobNotFound):
        await producer.cancel("nobody")
