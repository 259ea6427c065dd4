"""The producer's views for operators: why a job waits, limits, dead letters, full lanes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from producer import Producer
from producer.dead import Which
from shared.errors import InvalidRequest, JobNotFound, LaneFull, ProviderNotFound
from shared.job import Candidate, JobState, WaitReason
from shared.providers import ProviderRegistry
from shared.store.limits import Field
from shared.store.scopes import ScopeNotFound
from tests.conftest import MakeSettings
from tests.support import KEYS, RedisServer

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def raw(redis_server: RedisServer) -> redis.Redis:
    return redis_server.client()


async def kill(producer: Producer, raw: redis.Redis, *, code: str = "overloaded", **fields: Any) -> str:
    """A job that failed, as its worker would have left it."""
    job_id = await producer.submit({**REQUEST, **fields})
    queue = raw.hget(f"rq:job:{job_id}", "origin")
    raw.delete(f"rq:queue:{queue}")
    raw.hset(
        f"rq:job:{job_id}",
        mapping={
            "status": "failed", "cq_state": "failed", "ended_at": raw.hget(f"rq:job:{job_id}", "created_at"),
            "cq_error": json.dumps({"code": code, "message": "no"}),
        },
    )  # fmt: skip
    raw.expire(f"rq:job:{job_id}", 60)
    raw.zadd(f"rq:failed:{queue}", {job_id: 4e9})
    return job_id


async def test_get_explains_and_get_many_does_not(producer: Producer) -> None:
    """One job is worth a look around, a thousand are read."""
    await producer.submit(REQUEST)
    job_id = await producer.submit(REQUEST)
    job = await producer.get(job_id)
    (plain,) = await producer.get_many([job_id])
    assert (job.wait_reason, job.place) == (WaitReason.NO_WORKER, 1)
    assert plain is not None
    assert (plain.wait_reason, plain.place) == (WaitReason.READY, None)


async def test_fallbacks_become_candidates(producer: Producer) -> None:
    """After the model's own, each once."""
    names = ["openrouter/a/b", "ollama/m"]
    job = await producer.get(await producer.submit({**REQUEST, "fallbacks": names}))
    assert job.candidates == [Candidate("ollama", "m"), Candidate("openrouter", "a/b")]
    assert job.candidate == job.candidates[0]


async def test_full_lane_refuses_and_says_when(make_settings: MakeSettings) -> None:
    """Nothing drains: when is unknown."""
    settings = make_settings(CHATQ_ADMISSION__DEFAULT__MAX_JOBS="1")
    registry = ProviderRegistry.from_settings(settings, env=KEYS)
    async with Producer.open(settings, registry=registry) as producer:
        await producer.submit(REQUEST)
        with pytest.raises(LaneFull, match=r"1 jobs wait there .* try again later") as caught:
            await producer.submit(REQUEST)
        assert (caught.value.queue, caught.value.retry_after_s) == ("ollama.default", None)
        await producer.submit(REQUEST, lane="interactive")


async def test_limits_of_a_configured_account_can_be_set(producer: Producer) -> None:
    """Before any worker has served it; back to the settings again."""
    view = await producer.limits.set("openrouter/a/b", {Field.RPM: 90, Field.TPM: 0})
    assert (view.name, view.set) == ("openrouter/a/b", {"rpm": 90, "tpm": 0})
    assert [one.name for one in await producer.limits.show(["openrouter/a/b"])] == ["openrouter/a/b"]
    assert "openrouter/a/b" in [one.name for one in await producer.limits.show()]
    view = await producer.limits.set("openrouter/a/b", {Field.RPM: None, Field.TPM: None})
    assert (view.set, view.in_force) == ({}, {})


async def test_limits_of_nobody_are_refused(producer: Producer) -> None:
    """And a weight where it means nothing."""
    with pytest.raises(ScopeNotFound, match="ollama, ollama_cloud, openrouter"):
        await producer.limits.set("nobody", {Field.RPM: 1})
    with pytest.raises(InvalidRequest, match="weight"):
        await producer.limits.set("ollama", {Field.WEIGHT: 2})
    with pytest.raises(InvalidRequest, match="limits belong to"):
        await producer.limits.set("provider:ollama", {Field.RPM: 1})


async def test_opening_an_account_opens_all_of_it(producer: Producer, raw: redis.Redis) -> None:
    """Its providers and models, and nobody else's."""
    raw.hset("chatq:accounts", "ollama", "ollama")
    raw.sadd("chatq:slotted", "model:ollama/m", "model:openrouter/m")
    for scope in ("provider:ollama", "model:ollama/m", "model:openrouter/m"):
        raw.set(f"chatq:scope:{scope}", json.dumps({"breaker": "open", "open_until": 9e14}), ex=60)
    assert await producer.limits.open("ollama") == ["provider:ollama", "ollama/m"]
    assert await producer.limits.open("openrouter/m") == ["openrouter/m"]


async def test_dead_letters_are_found_by_queue_code_and_age(producer: Producer, raw: redis.Redis) -> None:
    """A provider's name stands for its lanes."""
    one = await kill(producer, raw)
    other = await kill(producer, raw, code="refused", model="openrouter/x")

    async def found(**which: Any) -> set[str]:
        return {job.id async for page in producer.dead.find(Which(**which)) for job in page}

    assert await found() == {one, other}
    assert await found(queue="ollama") == await found(queue="ollama.default") == {one}
    assert await found(code="refused") == {other}
    assert await found(within_s=3600) == {one, other}
    raw.hset(f"rq:job:{one}", "ended_at", "2020-01-01T00:00:00.000000Z")
    assert await found(within_s=3600) == {other}


async def test_replay_by_id_is_all_or_nothing(producer: Producer, raw: redis.Redis) -> None:
    """One that is no dead letter, or a model that leads nowhere, stops it."""
    dead, queued = await kill(producer, raw), await producer.submit(REQUEST)
    with pytest.raises(JobNotFound, match=queued):
        await producer.dead.replay([dead, queued])
    with pytest.raises(ProviderNotFound):
        await producer.dead.replay([dead], model="kimi/k2")
    assert (await producer.get(dead)).state is JobState.FAILED
    assert await producer.dead.replay([dead], model="openrouter/z") == [dead]
    job = await producer.get(dead)
    assert (job.state, job.queue, job.requested_model) == (
        JobState.QUEUED,
        "openrouter.default",
        "openrouter/z",
    )


async def test_replay_of_all_keeps_to_what_is_meant(producer: Producer, raw: redis.Redis) -> None:
    """The count grows page by page."""
    meant = [await kill(producer, raw) for _ in range(3)]
    other = await kill(producer, raw, code="refused")
    assert [count async for count in producer.dead.replay_all(Which(code="overloaded"))][-1] == 3
    states = [job.state for job in await producer.get_many([*meant, other]) if job]
    assert states == [JobState.QUEUED] * 3 + [JobState.FAILED]


async def test_drop_deletes_dead_letters_only(producer: Producer, raw: redis.Redis) -> None:
    """By id and all of a kind."""
    one, two, queued = await kill(producer, raw), await kill(producer, raw), await producer.submit(REQUEST)
    with pytest.raises(JobNotFound):
        await producer.dead.drop([one, queued])
    assert await producer.dead.drop([one]) == 1
    assert [count async for count in producer.dead.drop_all(Which())] == [1]
    assert [job is None for job in await producer.get_many([one, two, queued])] == [True, True, False]


async def test_many_jobs_are_cancelled_in_one_call(producer: Producer) -> None:
    """Unknown ids are not counted."""
    ids = [await producer.submit(REQUEST) for _ in range(3)]
    assert await producer.cancel_many([*ids, "never"]) == 3
    assert {job.state for job in await producer.get_many(ids) if job} == {JobState.CANCELLED}
