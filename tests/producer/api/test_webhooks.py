"""Webhooks over HTTP: where they may go, what became of them, and telling them again."""

from __future__ import annotations

from asyncio import create_task, sleep, timeout
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import openai
import orjson
import pytest

from producer import Producer, Submission
from producer.webhooks.deliverer import open_deliverer
from shared.access_token import AccessToken, Role, digest_of, id_of, new_token
from shared.background import end_tasks
from shared.store.connect import Store
from shared.store.tokens import TokenStore
from tests.producer.api.conftest import CHAT, Hand, Serve
from tests.producer.receiver import SECRET, Receiver, webhook_settings

ENV = {"CHATQ_WEBHOOKS__SECRET": SECRET}
OPEN = {**ENV, "CHATQ_WEBHOOKS__ALLOW_PRIVATE": "true"}


@asynccontextmanager
async def delivering(store: Store) -> AsyncIterator[None]:
    """A deliverer as the batcher runs one."""
    async with open_deliverer(store, webhook_settings(), {}, poll_s=0.02) as deliverer:
        running = create_task(deliverer.run())
        try:
            yield
        finally:
            await end_tasks(running)


async def ended_job(producer: Producer, url: str, client: str = "default") -> str:
    (job_id,) = await producer.submit_many([Submission(CHAT, client=client, webhook_url=url)])
    await producer.cancel(str(job_id))
    return str(job_id)


async def delivery(api: httpx.AsyncClient, object_id: str, *, calls: int = 1) -> dict[str, object]:
    """What is known of a delivery once so many calls stand in its log."""
    async with timeout(10):
        while True:
            answer = await api.get(f"/webhooks/deliveries/{object_id}")
            if answer.status_code == 200 and len(answer.json()["log"]) >= calls:
                found: dict[str, object] = answer.json()
                return found
            await sleep(0.02)


async def test_delivery_can_be_looked_at(
    serve: Serve, producer: Producer, store: Store, receiver: Receiver
) -> None:
    """From its first call on."""
    job_id = await ended_job(producer, receiver.url)
    async with serve() as api:
        assert (await api.get(f"/webhooks/deliveries/{job_id}")).status_code == 200  # an operator sees it due
        async with delivering(store):
            found = await delivery(api, job_id)
    assert (found["id"], found["object"], found["state"]) == (job_id, "webhook.delivery", "delivered")
    (entry,) = found["log"]  # type: ignore[misc]
    assert (entry["type"], entry["status"], entry["error"]) == ("job.cancelled", 200, None)  # type: ignore[index]
    assert "hidden" not in orjson.dumps(found).decode()


async def test_delivery_can_be_repeated(
    serve: Serve, producer: Producer, store: Store, receiver: Receiver
) -> None:
    """Under the same webhook-id, so that a receiver which has it already can tell."""
    job_id = await ended_job(producer, receiver.url)
    async with serve() as api, delivering(store):
        await delivery(api, job_id)
        again = await api.post(f"/webhooks/deliveries/{job_id}/redeliver")
        assert (again.status_code, again.json()["state"]) == (202, "pending")
        await delivery(api, job_id, calls=2)
    assert len({(call.id, call.body) for call in receiver.calls}) == 1
    assert len(receiver.calls) == 2


async def test_delivery_of_others_is_not_there(
    serve: Serve, producer: Producer, store: Store, receiver: Receiver
) -> None:
    """The same answer as for one that never was."""
    job_id = await ended_job(producer, receiver.url, client="alice")
    tokens = {}
    for client in ("alice", "bob"):
        text = new_token()
        await TokenStore(store).add(
            AccessToken(
                id=id_of(text), digest=digest_of(text), client=client, role=Role.SUBMIT, created_at=1.0
            )
        )
        tokens[client] = {"authorization": f"Bearer {text}"}
    async with serve() as api:
        async with delivering(store):
            api.headers.update(tokens["alice"])
            await delivery(api, job_id)
        api.headers.update(tokens["bob"])
        for call in (
            await api.get(f"/webhooks/deliveries/{job_id}"),
            await api.post(f"/webhooks/deliveries/{job_id}/redeliver"),
        ):
            never = (await api.get(f"/webhooks/deliveries/{job_id[:-1]}x")).json()["error"]["message"]
            assert call.status_code == 404
            assert call.json()["error"]["message"].replace(job_id, "") == never.replace(f"{job_id[:-1]}x", "")


@pytest.mark.parametrize("object_id", ["nobody", "batch_nobody", "resp_nobody", "a.b", "%20"])
async def test_unknown_delivery_is_not_found(api: httpx.AsyncClient, object_id: str) -> None:
    assert (await api.get(f"/webhooks/deliveries/{object_id}")).status_code == 404
    assert (await api.post(f"/webhooks/deliveries/{object_id}/redeliver")).status_code == 404


@pytest.mark.parametrize(
    ("env", "url", "words"),
    [
        ({}, "https://example.com/hook", "[webhooks] secret"),
        (ENV, "http://127.0.0.1:9/hook", "must not lead to"),
        (ENV, "http://169.254.169.254/latest/", "must not lead to"),
        (ENV, "ftp://example.com/", "http:// or https://"),
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/responses"])
async def test_submit_with_a_wrong_address_is_refused(
    serve: Serve, env: dict[str, str], url: str, words: str, path: str
) -> None:
    """At once, in words; nothing is enqueued."""
    body = {
        "/jobs": {"request": CHAT, "webhook_url": url},
        "/responses": {"model": "ollama/m", "input": "hi", "background": True, "chatq": {"webhook_url": url}},
    }[path]
    async with serve(**env) as api:
        answer = await api.post(path, json=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "webhook_url"


async def test_background_response_is_told_to_the_sdk(
    serve: Serve, store: Store, hand: Hand, receiver: Receiver
) -> None:
    """From OpenAI's client to OpenAI's verifier."""
    async with (
        serve(**OPEN) as api,
        delivering(store),
        openai.AsyncOpenAI(
            base_url=str(api.base_url), api_key="any", webhook_secret=SECRET, max_retries=0
        ) as client,
    ):
        made = await client.responses.create(
            model="ollama/m", input="hi", background=True, extra_body={"chatq": {"webhook_url": receiver.url}}
        )
        (grant,) = await hand.claim()
        await hand.answer(grant)
        found = await delivery(api, made.id)
        (call,) = receiver.calls
        event = client.webhooks.unwrap(call.body, dict(call.headers))
    assert (event.type, event.data.id) == ("response.completed", made.id)
    assert (found["id"], found["state"]) == (made.id, "delivered")


async def test_secret_is_in_no_answer_and_not_in_redis(
    serve: Serve, store: Store, producer: Producer, receiver: Receiver
) -> None:
    async with serve(**OPEN) as api, delivering(store):
        made = await api.post("/jobs", json={"request": CHAT, "webhook_url": receiver.url})
        assert made.status_code == 202
        job_id = made.json()["id"]
        await api.delete(f"/jobs/{job_id}")
        found = await delivery(api, job_id)
    stored = [await store.client.dump(key) async for key in store.client.scan_iter()]
    key = SECRET.removeprefix("whsec_")
    assert key not in made.text + str(found) + str(stored)
