"""Replays: a dead letter goes where its model, or another one, leads now; nothing of its old way stays."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import redis

from producer import Producer, Submission
from producer.dead import Which
from shared.errors import InvalidRequest
from shared.job import JobState
from tests.support import RedisServer

TIERS = ["openrouter/small", "ollama/large"]
GROUP_FIELDS = ("selection", "unrated_chain", "fallback_chain")


@pytest.fixture
def raw(redis_server: RedisServer) -> redis.Redis:
    return redis_server.client()


async def make_dispatcher(producer: Producer, name: str = "dispatcher", **fields: Any) -> None:
    group = {"strategy": "classifier", "targets": TIERS, "selector": "ollama_cloud/rater", **fields}
    await producer.groups.set(name, group)


async def dead(
    producer: Producer, raw: redis.Redis, model: str, tags: tuple[str, ...] = (), **body: Any
) -> str:
    """A job that expired before its first call."""
    request = {"model": model, "messages": [{"role": "user", "content": "Why? " * 1000}], **body}
    (job_id,) = await producer.submit_many(
        [Submission(request, metadata={"case": 7}, source="src", tags=tags)]
    )
    key, queue = f"rq:job:{job_id}", raw.hget(f"rq:job:{job_id}", "origin")
    raw.delete(f"rq:queue:{queue}")
    ended = {"status": "failed", "cq_state": "expired", "ended_at": raw.hget(key, "created_at")}
    raw.hset(key, mapping=ended)
    raw.expire(key, 60)
    raw.zadd(f"rq:failed:{queue}", {job_id: 4e9})
    return job_id


def stored(raw: redis.Redis, job_id: str) -> tuple[dict[str, Any], list[Any], list[str]]:
    """Record, route and cost."""
    record, route, cost = raw.hmget(f"rq:job:{job_id}", "cq_info", "cq_route", "cq_cost")
    return json.loads(record), json.loads(route or "null"), cost.replace("\n", " ").split()


async def test_other_model_is_asked_without_the_rating_of_before(
    producer: Producer, raw: redis.Redis
) -> None:
    """It died before it was rated: the new model answers, and no target of the old group is there."""
    await make_dispatcher(producer)
    job_id = await dead(producer, raw, "dispatcher")
    assert await producer.dead.replay([job_id], model="openrouter/other") == [job_id]
    record, route, cost = stored(raw, job_id)
    assert not set(GROUP_FIELDS) & set(record)
    assert (record["candidates"], route) == ([["openrouter", "other"]], None)
    assert int(cost[0]) > 1000
    job = await producer.get(job_id)
    assert (job.queue, job.requested_model, job.chain) == ("openrouter.default", "openrouter/other", [])
    assert (job.metadata, job.source) == ({"case": 7}, "src")


async def test_group_is_asked_anew(producer: Producer, raw: redis.Redis) -> None:
    """It may have changed; its candidates state what their calls take, and the first call is the rating."""
    await make_dispatcher(producer)
    job_id = await dead(producer, raw, "dispatcher")
    before = stored(raw, job_id)
    assert await producer.dead.replay([job_id]) == [job_id]
    assert stored(raw, job_id) == before
    await make_dispatcher(producer, targets=["ollama/a", "ollama/b"])
    other = await dead(producer, raw, "dispatcher")
    await make_dispatcher(producer, targets=["ollama/c", "ollama/d"])
    await producer.dead.replay([other])
    assert [entry[1] for entry in stored(raw, other)[1]] == ["rater", "c", "d"]


async def test_plain_job_is_replayed_as_a_groups(producer: Producer, raw: redis.Redis) -> None:
    """Rated like a new one, with its fallbacks behind."""
    await make_dispatcher(producer)
    job_id = await dead(producer, raw, "ollama/x", fallbacks=["ollama/last"])
    await producer.dead.replay([job_id], model="dispatcher")
    record, route, cost = stored(raw, job_id)
    assert record["selection"]["group"] == "dispatcher"
    assert [entry[:2] for entry in route] == [
        ["ollama_cloud", "rater"], ["openrouter", "small"], ["ollama", "large"], ["ollama", "last"],
    ]  # fmt: skip
    assert all(entry[2] > 1000 for entry in route[1:])
    assert cost[-1] == "rater"
    assert (await producer.get(job_id)).chain == ["dispatcher (asks ollama_cloud/rater)"]


async def test_replay_asks_for_the_model_of_the_last_one(producer: Producer, raw: redis.Redis) -> None:
    """Which may be another than the request's."""
    job_id = await dead(producer, raw, "ollama/x")
    raw.hset(f"rq:job:{job_id}", "cq_info", json.dumps({"model": "openrouter/y", "client": "bad\nname"}))
    await producer.dead.replay([job_id])
    record, _, cost = stored(raw, job_id)
    assert (record["model"], record["client"], cost[3:]) == ("openrouter/y", "default", ["default", "y"])


async def test_webhook_is_told_of_the_second_end_too(producer: Producer, raw: redis.Redis) -> None:
    """What is no address any more goes; and nobody follows the pieces of a replay's answer."""
    job_id, other = await dead(producer, raw, "ollama/x"), await dead(producer, raw, "ollama/x")
    fields = {"model": "ollama/x", "client": "default", "stream": True}
    raw.hset(f"rq:job:{job_id}", "cq_info", json.dumps({**fields, "webhook": "https://example.com/hook"}))
    raw.hset(f"rq:job:{other}", "cq_info", json.dumps({**fields, "webhook": "junk"}))
    await producer.dead.replay([job_id, other])
    record, _, _ = stored(raw, job_id)
    assert (record["webhook"], "stream" in record) == ("https://example.com/hook", False)
    assert "webhook" not in stored(raw, other)[0]


@pytest.mark.parametrize("strategy", ["heuristic", "classifier"])
async def test_tags_count_again(producer: Producer, raw: redis.Redis, strategy: str) -> None:
    """A rule that asks for them matches as it did."""
    rules = [{"rule_id": "vip", "conditions": {"any_of_tags": ["vip"]}, "primary_model": "ollama/large"}]
    await make_dispatcher(producer, strategy=strategy, rules=rules)
    job_id = await dead(producer, raw, "dispatcher", tags=("vip",))
    before = stored(raw, job_id)
    await producer.dead.replay([job_id])
    assert stored(raw, job_id) == before
    assert "vip" in str(before[0].get("unrated_chain") or before[0]["chain"])


async def test_letter_that_leads_nowhere_stays(
    producer: Producer, raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """By its id that is an error; of all, the others go on, and the log says so."""
    good, broken = await dead(producer, raw, "ollama/x"), await dead(producer, raw, "ollama/y")
    raw.hset(f"rq:job:{broken}", "data", "junk")
    with pytest.raises(InvalidRequest, match=broken):
        await producer.dead.replay([good, broken])
    with caplog.at_level(logging.WARNING, logger="producer.dead"):
        assert [count async for count in producer.dead.replay_all(Which())] == [1]
    assert f"1 dead letters stay where they are; the first: dead letter {broken}" in caplog.text
    jobs = await producer.get_many([good, broken])
    assert [job and job.state for job in jobs] == [JobState.QUEUED, JobState.EXPIRED]
