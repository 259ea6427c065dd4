"""Batches over HTTP: accepted, looked at, cancelled, retried, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import orjson
import pytest

from producer import Producer
from producer.batcher.batcher import open_batcher
from producer.batcher.notice import batch_describer
from producer.webhooks.deliverer import open_deliverer
from shared.background import end_tasks
from shared.job import Lane
from shared.providers import ProviderRegistry
from shared.settings import Settings
from shared.store.batches import BatchStore
from shared.store.connect import Store
from tests.producer.receiver import SECRET, Receiver, webhook_settings
from tests.support import WorkerRunner

from .conftest import Serve
from .tokens import add_token, bearer

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


def line(number: int, **body: Any) -> bytes:
    asked = {"model": "ollama/m", "messages": [{"role": "user", "content": f"say {number} …"}], **body}
    return orjson.dumps({"custom_id": f"id-{number}", "method": "POST", "url": CHAT, "body": asked}) + b"\n"


async def uploaded(api: httpx.AsyncClient, *lines: bytes) -> str:
    answer = await api.post(
        "/files", files={"file": ("in.jsonl", b"".join(lines))}, data={"purpose": "batch"}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def asked(api: httpx.AsyncClient, *, key: str = "", **fields: Any) -> httpx.Response:
    body = {"endpoint": CHAT, "completion_window": "24h", **fields}
    return await api.post("/batches", json=body, headers={"Idempotency-Key": key} if key else {})


async def made(api: httpx.AsyncClient, *lines: bytes, **fields: Any) -> dict[str, Any]:
    answer = await asked(api, input_file_id=await uploaded(api, *(lines or (line(1),))), **fields)
    assert answer.status_code == 200, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


async def ended(api: httpx.AsyncClient, batch_id: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            batch: dict[str, Any] = (await api.get(f"/batches/{batch_id}")).json()
            if batch["status"] in ENDED:
                return batch
            await asyncio.sleep(0.05)


@pytest.fixture
async def batcher(settings: Settings, registry: ProviderRegistry, producer: Producer) -> AsyncIterator[None]:
    """Runs beside the API, on the same Redis and the same folder."""

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with open_batcher(settings, registry, producer) as one:
            task = asyncio.create_task(one.run())
            yield
            one.stop()
            await task

    async with running():
        yield


async def test_new_batch_has_all_that_clients_look_at(api: httpx.AsyncClient) -> None:
    """Counts from the first reply on, and no file ids before it has ended."""
    batch = await made(api, metadata={"a": "b"})
    assert (batch["object"], batch["status"], batch["metadata"]) == ("batch", "validating", {"a": "b"})
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert (batch["output_file_id"], batch["error_file_id"], batch["errors"]) == (None, None, None)
    assert batch["expires_at"] == batch["created_at"] + 86_400
    assert batch["chatq"]["lane"] == "batch"


@pytest.mark.usefixtures("batcher")
async def test_official_client_runs_a_batch(api: httpx.AsyncClient, workers: WorkerRunner) -> None:
    """One line fails; the others are answered, in ASCII, under their ids."""
    workers.start()
    async with openai.AsyncOpenAI(base_url=str(api.base_url), api_key="x") as client:
        file = await client.files.create(
            file=("in.jsonl", line(1) + line(2, temperature=9) + line(3)), purpose="batch"
        )
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        await ended(api, batch.id)
        batch = await client.batches.retrieve(batch.id)
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {"completed": 2, "failed": 1, "total": 3}
        assert batch.completed_at is not None
        assert batch.usage is not None
        assert batch.usage.total_tokens > 0
        output = await client.files.content(batch.output_file_id or "")
        assert output.content.isascii()
        lines = [orjson.loads(text) for text in output.text.splitlines()]
        assert sorted(one["custom_id"] for one in lines) == ["id-1", "id-3"]
        errors = await client.files.content(batch.error_file_id or "")
        assert orjson.loads(errors.text)["response"]["status_code"] == 400
        assert [one.id async for one in client.batches.list(limit=1)] == [batch.id]
        names = [
            (await client.files.retrieve(one or "")).filename
            for one in (batch.output_file_id, batch.error_file_id)
        ]
        assert names == [f"{batch.id}_output.jsonl", f"{batch.id}_error.jsonl"]


@pytest.mark.usefixtures("batcher")
async def test_bad_input_fails_with_line_numbers(api: httpx.AsyncClient) -> None:
    """Creation succeeds; the reasons stand in `errors`."""
    batch = await ended(api, (await made(api, line(1), b"{\n", line(2, stream=True), line(1)))["id"])
    assert (batch["status"], batch["failed_at"] is None) == ("failed", False)
    assert [(one["code"], one["line"]) for one in batch["errors"]["data"]] == [
        ("invalid_json_line", 2), ("stream_not_supported", 3), ("duplicate_custom_id", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "31d"}, "completion_window"),
        ({"completion_window": 24}, "completion_window"),
        ({"input_file_id": None}, "input_file_id"),
        ({"input_file_id": {}}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after"),
        ({"output_expires_after": {"seconds": 5000}}, "output_expires_after"),
        ({"chatq": {"lane": "fast"}}, "chatq.lane"),
        ({"chatq": {"other": 1}}, "chatq"),
    ],
)
async def test_wrong_parameter_is_refused_at_once(
    api: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    answer = await asked(api, **{"input_file_id": await uploaded(api, line(1)), **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_webhooks_are_refused_while_they_are_off(api: httpx.AsyncClient) -> None:
    """Nobody would be told."""
    file_id = await uploaded(api, line(1))
    answer = await asked(api, input_file_id=file_id, chatq={"webhook_url": "https://a.example/x"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "webhook_url")


@pytest.mark.parametrize("way", ["field", "header", "metadata"])
async def test_webhook_is_stated_in_one_of_three_ways(serve: Serve, way: str) -> None:
    """Clients that can send no fields of their own have the other two."""
    url = "https://a.example/x"
    async with serve(CHATQ_WEBHOOKS__SECRET=SECRET, CHATQ_WEBHOOKS__ALLOW_PRIVATE="true") as api:
        body: dict[str, Any] = {
            "endpoint": CHAT, "completion_window": "1h", "input_file_id": await uploaded(api, line(1)),
        }  # fmt: skip
        if way != "header":
            body |= {"chatq": {"webhook_url": url}} if way == "field" else {"metadata": {"webhook_url": url}}
        headers = {"X-Chatq-Webhook-Url": url} if way == "header" else {}
        batch = (await api.post("/batches", json=body, headers=headers)).json()
    assert batch["chatq"]["webhook_url"] == url


@pytest.mark.usefixtures("batcher")
async def test_end_of_a_batch_is_told_to_its_webhook(serve: Serve, store: Store, receiver: Receiver) -> None:
    """Whatever the end; the official client takes the event."""
    async with serve(CHATQ_WEBHOOKS__SECRET=SECRET, CHATQ_WEBHOOKS__ALLOW_PRIVATE="true") as api:
        batch = await made(api, b"no json\n", chatq={"webhook_url": receiver.url})
        await ended(api, batch["id"])
        describers = {"batch": batch_describer(BatchStore(store))}
        async with open_deliverer(store, webhook_settings(), describers, poll_s=0.02) as deliverer:
            delivering = asyncio.create_task(deliverer.run())
            async with asyncio.timeout(10):
                delivery = f"/webhooks/deliveries/{batch['id']}"
                while (await api.get(delivery)).json().get("state") != "delivered":
                    await asyncio.sleep(0.02)
            await end_tasks(delivering)
    (call,) = receiver.calls
    verifier = openai.OpenAI(api_key="-", webhook_secret=SECRET).webhooks
    event = verifier.unwrap(call.body, dict(call.headers))
    assert (event.type, event.data.id) == ("batch.failed", batch["id"])


@pytest.mark.usefixtures("batcher")
async def test_lines_are_bound_to_the_models_of_the_token(api: httpx.AsyncClient, store: Store) -> None:
    """Also the lines of a retry, to those of whoever asks for it."""
    bound, free = [await add_token(store, models=models) for models in (("ollama/*",), None)]
    other = line(2, model="openrouter/m"), line(3, fallbacks=["openrouter/m"])
    api.headers.update(bearer(bound))
    batch = await ended(api, (await made(api, line(1), *other))["id"])
    assert batch["status"] == "failed"
    assert [(one["code"], one["line"]) for one in batch["errors"]["data"]] == [
        ("model_not_allowed", 2), ("model_not_allowed", 3),
    ]  # fmt: skip
    api.headers.update(bearer(free))
    first = await ended(api, (await made(api, *other, completion_window="1s"))["id"])
    assert first["status"] == "expired"
    retry = (await api.post(f"/batches/{first['id']}/retry", headers=bearer(bound))).json()
    assert (await ended(api, retry["id"]))["errors"]["data"][0]["code"] == "model_not_allowed"


@pytest.mark.parametrize(
    ("bound", "code"),
    [({"lanes": (Lane.DEFAULT,)}, "lane_not_allowed"), ({"budget_usd": 0}, "insufficient_quota")],
)
async def test_batch_keeps_the_bounds_of_its_token(
    api: httpx.AsyncClient, store: Store, bound: dict[str, Any], code: str
) -> None:
    """Nothing is accepted."""
    api.headers.update(bearer(await add_token(store, **bound)))
    answer = await asked(api, input_file_id=await uploaded(api, line(1)))
    assert answer.json()["error"]["code"] == code
    assert (await api.get("/batches")).json()["data"] == []


async def test_lane_is_stated_by_field_or_header(api: httpx.AsyncClient) -> None:
    """Its jobs wait there."""
    body = {"endpoint": CHAT, "completion_window": "1h", "input_file_id": await uploaded(api, line(1))}
    by_header = await api.post("/batches", json=body, headers={"X-Chatq-Lane": "default"})
    by_field = await api.post("/batches", json={**body, "chatq": {"lane": "interactive"}})
    assert [one.json()["chatq"]["lane"] for one in (by_header, by_field)] == ["default", "interactive"]


async def test_unknown_input_is_not_found(api: httpx.AsyncClient) -> None:
    assert (await asked(api, input_file_id="file-" + "0" * 32)).status_code == 404


@pytest.mark.parametrize("window", ["30m", "1h", "24h", "7d"])
async def test_any_window_is_taken(api: httpx.AsyncClient, window: str) -> None:
    batch = await made(api, completion_window=window)
    assert batch["completion_window"] == window


async def test_same_key_and_body_is_the_same_batch(api: httpx.AsyncClient) -> None:
    """Another body under the key is a conflict that is not worth another try."""
    file_id = await uploaded(api, line(1))
    first = await asked(api, input_file_id=file_id, key="k")
    assert (await asked(api, input_file_id=file_id, key="k")).json() == first.json()
    answer = await asked(api, input_file_id=file_id, completion_window="1h", key="k")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")


async def test_same_key_finds_the_batch_when_its_input_is_deleted(api: httpx.AsyncClient) -> None:
    file_id = await uploaded(api, line(1))
    first = await asked(api, input_file_id=file_id, key="k")
    await api.delete(f"/files/{file_id}")
    assert (await asked(api, input_file_id=file_id, key="k")).json() == first.json()
    assert (await asked(api, input_file_id=file_id, key="other")).status_code == 404


async def test_cancel_is_answered_with_its_time(api: httpx.AsyncClient) -> None:
    """At once, and again the same."""
    batch = await made(api)
    answer = (await api.post(f"/batches/{batch['id']}/cancel")).json()
    assert (answer["status"], answer["cancelling_at"] is None) == ("cancelling", False)
    assert (await api.post(f"/batches/{batch['id']}/cancel")).json() == answer


@pytest.mark.usefixtures("batcher")
async def test_cancelled_batch_stays_as_it_ended(api: httpx.AsyncClient) -> None:
    """With a file of all its lines."""
    batch = await made(api, line(1), line(2))
    await api.post(f"/batches/{batch['id']}/cancel")
    batch = await ended(api, batch["id"])
    assert (batch["status"], batch["request_counts"]["failed"]) == ("cancelled", 2)
    assert batch["output_file_id"]
    assert (await api.post(f"/batches/{batch['id']}/cancel")).json() == batch


@pytest.mark.usefixtures("batcher")
async def test_retry_makes_one_batch_of_the_failed_lines(
    api: httpx.AsyncClient, workers: WorkerRunner
) -> None:
    """However often it is asked for."""
    batch = await made(api, line(1), line(2), completion_window="1s")
    await ended(api, batch["id"])
    retries = [await api.post(f"/batches/{batch['id']}/retry") for _ in range(2)]
    assert [one.status_code for one in retries] == [200, 200]
    first, second = (one.json() for one in retries)
    assert first["id"] == second["id"] != batch["id"]
    assert first["chatq"]["retry_of"] == batch["id"]
    again = await ended(api, first["id"])
    assert (again["status"], again["request_counts"]["total"]) == ("expired", 2)


async def test_running_batch_is_not_retried(api: httpx.AsyncClient) -> None:
    batch = await made(api)
    answer = await api.post(f"/batches/{batch['id']}/retry")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")


async def test_list_pages_end(api: httpx.AsyncClient) -> None:
    """Newest first; `has_more` is always there."""
    ids = []
    for _ in range(3):
        ids.append((await made(api))["id"])
        await asyncio.sleep(0.002)
    page = (await api.get("/batches", params={"limit": 2})).json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[:0:-1], True)
    rest = (await api.get("/batches", params={"limit": 2, "after": ids[1]})).json()
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (ids[:1], False)


@pytest.mark.parametrize("path", ["/batches/batch_nothing", "/batches/x", "/batches?after=batch_1"])
async def test_unknown_batch_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path)).status_code == 404


@pytest.mark.usefixtures("batcher")
async def test_running_results_are_read_by_their_ids(api: httpx.AsyncClient, workers: WorkerRunner) -> None:
    """The batch tells them in its own key; the files cannot be deleted yet."""
    workers.start("--providers", "ollama")
    batch = await made(api, line(1), line(2, model="openrouter/m"))
    async with asyncio.timeout(20):
        while batch["request_counts"]["completed"] < 1:
            await asyncio.sleep(0.05)
            batch = (await api.get(f"/batches/{batch['id']}")).json()
    file_id = batch["chatq"]["output_file_id"]
    content = await api.get(f"/files/{file_id}/content")
    assert [orjson.loads(text)["custom_id"] for text in content.text.splitlines()] == ["id-1"]
    file = (await api.get(f"/files/{file_id}")).json()
    assert (file["bytes"], file["purpose"]) == (len(content.content), "batch_output")
    assert (await api.delete(f"/files/{file_id}")).status_code == 409
    await api.post(f"/batches/{batch['id']}/cancel")
    await ended(api, batch["id"])
