"""Answers: jobs that are waited for from their submit on."""

from __future__ import annotations

import asyncio

import pytest
import redis

from producer import JobState, Producer, Submission
from producer.wait import Wait
from shared.errors import IdempotencyConflict, InvalidRequest
from tests.support import RedisServer, wait_until

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def raw(redis_server: RedisServer, redis_url: str) -> redis.Redis:
    return redis_server.client()


async def held(producer: Producer, *submissions: Submission) -> list[Wait]:
    waits = await producer.answers.hold_many(submissions)
    assert all(isinstance(wait, Wait) for wait in waits)
    return [wait for wait in waits if isinstance(wait, Wait)]


async def test_answer_is_there_without_another_look(producer: Producer, raw: redis.Redis) -> None:
    """The wait is registered by the enqueue, and the message brings the job: nothing else is asked of Redis."""
    (first,) = await held(producer, Submission(CHAT))  # subscribes, and the scripts are loaded
    await producer.cancel(first.job_id)
    with raw.monitor() as monitor:
        (wait,) = await held(producer, Submission(CHAT))
        finishing = asyncio.create_task(producer.answers.finish(wait, timeout_s=20))
        await asyncio.sleep(0)
        await producer.cancel(wait.job_id)
        assert (await finishing).state is JobState.CANCELLED
        raw.echo("end")
        sent = []
        while not sent or not sent[-1].startswith("ECHO"):
            command = monitor.next_command()
            sent += [command["command"]] if command["client_type"] != "lua" else []
    # Submit, with it a look whether a claim stands, and cancel.
    assert [command.split()[0] for command in sent] == ["EVALSHA", "EVALSHA", "EVALSHA", "ECHO"]


async def test_end_before_the_wait_is_not_missed(producer: Producer) -> None:
    """It was told while nobody listened to the wait yet."""
    (wait,) = await held(producer, Submission(CHAT))
    await producer.cancel(wait.job_id)
    assert (await producer.answers.finish(wait, timeout_s=20)).state is JobState.CANCELLED


async def test_known_outcome_is_told_at_once(producer: Producer) -> None:
    """A job that ended before, found again by its key: no message will come."""
    again = Submission(CHAT, idempotency_key="k")
    await producer.cancel(await producer.submit(CHAT, idempotency_key="k"))
    waits = await held(producer, again, again)
    ended = [await producer.answers.finish(wait, timeout_s=20) for wait in waits]
    assert [job.state for job in ended] == [JobState.CANCELLED] * 2


async def test_unfinished_job_is_joined(producer: Producer) -> None:
    """The same key: one job, and everybody who waits for it is told."""
    again = Submission(CHAT, idempotency_key="k")
    job_id = await producer.submit(CHAT, idempotency_key="k")
    waits = await held(producer, again, again)
    assert [wait.job_id for wait in waits] == [job_id] * 2
    finishing = [producer.answers.finish(wait, timeout_s=20) for wait in waits]
    await producer.cancel(job_id)
    assert [job.state for job in await asyncio.gather(*finishing)] == [JobState.CANCELLED] * 2
    assert not producer.answers.is_expected(job_id)


async def test_rejections_stand_in_their_places(producer: Producer) -> None:
    """Nothing is waited for where nothing was accepted; good neighbours are."""
    job_id = await producer.submit(CHAT, idempotency_key="k")
    conflict, invalid, wait = await producer.answers.hold_many(
        [
            Submission({**CHAT, "seed": 1}, idempotency_key="k"),
            Submission({}),
            Submission(CHAT, idempotency_key="other"),
        ]
    )
    assert isinstance(conflict, IdempotencyConflict)
    assert isinstance(invalid, InvalidRequest)
    assert isinstance(wait, Wait)
    assert not producer.answers.is_expected(job_id)
    assert producer.answers.is_expected(wait.job_id)
    wait.give_up()
    assert not producer.answers.is_expected(wait.job_id)


async def test_cut_subscription_loses_no_answer(producer: Producer, raw: redis.Redis) -> None:
    """What was published while it was down is looked up when it is back."""
    (wait,) = await held(producer, Submission(CHAT))
    raw.client_kill_filter(_type="pubsub")
    await producer.cancel(wait.job_id)
    assert (await producer.answers.finish(wait, timeout_s=20)).state is JobState.CANCELLED


@pytest.mark.parametrize("word", ["", " 3\nabc"])
async def test_forged_message_ends_no_wait(producer: Producer, raw: redis.Redis, word: str) -> None:
    """A message is only a reason to look; the wait goes on."""
    (wait,) = await held(producer, Submission(CHAT))
    finishing = asyncio.create_task(producer.answers.finish(wait, timeout_s=20))
    raw.publish(producer.answers.channel, f"{wait.job_id}{word}")
    registered = raw.info("commandstats")["cmdstat_evalsha"]["calls"]
    await wait_until(lambda: raw.info("commandstats")["cmdstat_evalsha"]["calls"] > registered)
    await producer.cancel(wait.job_id)
    assert (await finishing).state is JobState.CANCELLED


async def test_refused_enqueue_leaves_no_wait(producer: Producer, raw: redis.Redis) -> None:
    (wait,) = await held(producer, Submission(CHAT))
    raw.execute_command("ACL SETUSER default -evalsha")
    try:
        with pytest.raises(Exception, match="refused"):
            await producer.answers.hold_many([Submission(CHAT, idempotency_key="new")])
    finally:
        raw.execute_command("ACL SETUSER default +evalsha")
    (again,) = await held(producer, Submission(CHAT, idempotency_key="new"))
    again.give_up()
    assert not producer.answers.is_expected(again.job_id)
    wait.give_up()
