"""The keeper: outcomes are kept although nobody looks, and what will never have one is left alone."""

from __future__ import annotations

import time

import pytest
import redis

from producer import Producer
from producer.responses.book import ResponseBook
from producer.responses.ids import job_id_of, response_id
from producer.responses.keeper import ResponseKeeper
from shared.background import end_tasks
from shared.store.responses import ResponseStore, StoredResponse
from tests.producer.responses.completions import asked
from tests.support import RedisServer, wait_until

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def raw(redis_server: RedisServer, redis_url: str) -> redis.Redis:
    return redis_server.client()


@pytest.fixture
def responses(producer: Producer) -> ResponseStore:
    return ResponseStore(producer.store)


async def accepted(producer: Producer, responses: ResponseStore, raw: redis.Redis) -> StoredResponse:
    """A response whose job waits, due for a look."""
    job_id = await producer.submit(CHAT)
    response = StoredResponse(response_id(job_id), "default", time.time(), asked(background=True), False)
    await responses.accept(response, items=[], digest="d")
    raw.zadd("chatq:responses:open", {response.id: 1})
    return response


async def test_outcome_is_kept_unasked(
    producer: Producer, responses: ResponseStore, raw: redis.Redis
) -> None:
    response = await accepted(producer, responses, raw)
    await producer.cancel(job_id_of(response.id))
    keeper = ResponseKeeper(responses, producer, look_every_s=0.01)
    tasks = keeper.start()
    await wait_until(lambda: bool(raw.hexists(f"chatq:response:{response.id}", "outcome")))
    await end_tasks(*tasks)
    kept = await responses.read(response.id)
    assert kept is not None
    assert kept.outcome is not None
    assert kept.outcome["status"] == "cancelled"


async def test_unfinished_response_is_looked_at_again(
    producer: Producer, responses: ResponseStore, raw: redis.Redis
) -> None:
    response = await accepted(producer, responses, raw)
    keeper = ResponseKeeper(responses, producer)
    assert await keeper.look() == [response.id]
    assert raw.zscore("chatq:responses:open", response.id) is not None
    assert await responses.read(response.id) == response


async def test_response_without_a_job_is_set_aside(
    producer: Producer, responses: ResponseStore, raw: redis.Redis
) -> None:
    response = await accepted(producer, responses, raw)
    raw.delete(f"rq:job:{job_id_of(response.id)}")
    keeper = ResponseKeeper(responses, producer)
    await keeper.look()
    assert raw.zscore("chatq:responses:open", response.id) is None
    found = await ResponseBook(responses, producer, keep=keeper.keep).now(response)
    assert (found["status"], found["error"]["code"]) == ("failed", "server_error")


async def test_outcome_that_another_process_kept_is_found(
    producer: Producer, responses: ResponseStore, raw: redis.Redis
) -> None:
    """Between the look into the book and the look at the job."""
    response = await accepted(producer, responses, raw)
    await responses.end(response, {"status": "completed"})
    raw.delete(f"rq:job:{job_id_of(response.id)}")
    keeper = ResponseKeeper(responses, producer)
    assert await ResponseBook(responses, producer, keep=keeper.keep).now(response) == {"status": "completed"}
