"""What webhooks tell of jobs and of responses, up to a real worker and the receiver's SDK."""

from __future__ import annotations

import openai
import orjson
import pytest

from producer import Producer, Submission
from producer.responses.ids import response_id
from producer.webhooks.event import Describe, Notice
from producer.webhooks.jobs import job_describer
from shared.job import JobState
from shared.store.connect import Store
from shared.store.responses import ResponseStore, StoredResponse
from shared.store.webhooks import DeliveryState, WebhookOutbox
from tests.producer.receiver import SECRET, Receiver
from tests.producer.webhooks.conftest import Office
from tests.support import RedisServer, WorkerRunner, wait_until

CHAT = {"model": "ollama/m", "messages": [{"role": "user", "content": "hi"}]}
URL = "https://example.com/hook"


@pytest.fixture
def responses(store: Store) -> ResponseStore:
    return ResponseStore(store)


@pytest.fixture
def describe(store: Store, responses: ResponseStore) -> Describe:
    return job_describer(WebhookOutbox(store), responses)


async def submit(producer: Producer, url: str | None = URL) -> str:
    (job_id,) = await producer.submit_many([Submission(CHAT, client="alice", webhook_url=url)])
    assert isinstance(job_id, str)
    return job_id


async def accept(responses: ResponseStore, job_id: str) -> None:
    """What POST /v1/responses does after it has submitted the job."""
    made = StoredResponse(response_id(job_id), "alice", 1.0, {"background": True}, False)
    await responses.accept(made, items=[], digest="d")


async def test_job_is_told_when_it_has_ended(producer: Producer, describe: Describe) -> None:
    """Not before; by what it ended as, and when."""
    job_id = await submit(producer)
    assert await describe(job_id) is None
    await producer.cancel(job_id)
    job = await producer.get(job_id)
    assert job.ended_at is not None
    assert await describe(job_id) == Notice(URL, "job.cancelled", job.ended_at, {"id": job_id}, "alice")


async def test_job_without_an_address_is_not_told(producer: Producer, describe: Describe) -> None:
    job_id = await submit(producer, None)
    await producer.cancel(job_id)
    assert await describe(job_id) is None
    assert await describe("nobody") is None


@pytest.mark.parametrize(
    ("finish_reason", "told"), [("stop", "response.completed"), ("length", "response.incomplete")]
)
async def test_response_is_told_instead_of_its_job(
    producer: Producer, responses: ResponseStore, describe: Describe, redis_server: RedisServer,
    finish_reason: str, told: str,
) -> None:  # fmt: skip
    """Who asked for a response knows no job."""
    job_id = await submit(producer)
    await accept(responses, job_id)
    await producer.cancel(job_id)
    notice = await describe(job_id)
    assert notice is not None
    assert (notice.type, notice.data) == ("response.cancelled", {"id": response_id(job_id)})
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": finish_reason}
    ended = {"status": "finished", "cq_state": "completed", "cq_result": orjson.dumps({"choices": [choice]})}
    with redis_server.client() as raw:
        raw.hset(f"rq:job:{job_id}", mapping=ended)
    notice = await describe(job_id)
    assert notice is not None
    assert notice.type == told


async def test_kept_outcome_of_a_response_is_told(
    producer: Producer, responses: ResponseStore, describe: Describe
) -> None:
    job_id = await submit(producer)
    await accept(responses, job_id)
    await producer.cancel(job_id)
    response = await responses.read(response_id(job_id))
    assert response is not None
    await responses.end(response, {"id": response.id, "status": "cancelled"})
    notice = await describe(job_id)
    assert notice is not None
    assert notice.type == "response.cancelled"


async def test_deleted_response_is_not_told(
    producer: Producer, responses: ResponseStore, describe: Describe
) -> None:
    job_id = await submit(producer)
    await accept(responses, job_id)
    await producer.cancel(job_id)
    await responses.delete(response_id(job_id))
    assert await describe(job_id) is None


async def test_receiver_hears_of_a_job_that_a_worker_ran(
    producer: Producer, workers: WorkerRunner, office: Office, responses: ResponseStore, receiver: Receiver
) -> None:
    """One call, which OpenAI's SDK takes for a true one."""
    workers.start()
    job_id = await submit(producer, receiver.url)
    assert (await producer.wait(job_id, timeout_s=20)).state is JobState.COMPLETED
    async with office.deliverer(job=job_describer(office.outbox, responses)):
        delivery = await office.ended(f"job:{job_id}", DeliveryState.DELIVERED)
    (call,) = receiver.calls
    client = openai.OpenAI(api_key="k", webhook_secret=SECRET)
    client.webhooks.verify_signature(call.body, dict(call.headers))
    assert (call.event["type"], call.event["data"]) == ("job.completed", {"id": job_id})
    assert (delivery.client, len(delivery.log)) == ("alice", 1)


async def test_end_whose_batcher_was_killed_is_told_by_the_next(
    producer: Producer, workers: WorkerRunner, redis_server: RedisServer, receiver: Receiver
) -> None:
    """With kill -9 in the middle of the call: the same event again, once its lease is over."""
    batcher = ("-m", "producer", "batcher")
    env = {"CHATQ_WEBHOOKS__SECRET": SECRET, "CHATQ_WEBHOOKS__ALLOW_PRIVATE": "true"}
    receiver.held.clear()
    job_id = await submit(producer, receiver.url)
    await producer.cancel(job_id)
    first = workers.start(module=batcher, ready=False, **env)
    await wait_until(lambda: len(receiver.calls) == 1)
    first.kill()
    receiver.held.set()
    with redis_server.client() as raw:
        raw.zadd("chatq:webhooks:leases", {f"job:{job_id}": 1}, xx=True)
        workers.start(module=batcher, ready=False, **env)
        await wait_until(lambda: raw.hget(f"chatq:webhook:job:{job_id}", "state") == "delivered")
    assert len(receiver.calls) == 2
    assert len({(call.id, call.body) for call in receiver.calls}) == 1
