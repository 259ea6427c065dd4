"""The access table: for every operation there is, who may and who may not; and nobody sees what is another's.

It is made from the operations, so one that is added stands in it; an object kind that is added fails a test until
`MAKERS` knows how to make one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import orjson
import pytest

from producer.api.app import OPERATIONS
from producer.api.operation import Operation
from producer.api.principal import Role
from shared.store import keys
from shared.store.connect import Store
from shared.store.webhooks import DeliveryState, Settlement, WebhookOutbox
from tests.producer.api.conftest import CHAT, Serve
from tests.producer.api.tokens import add_token, bearer

ALLOWED: dict[str, set[Role | None]] = {
    "none": {None},
    "wrong": {None},
    "read": {None, Role.READ},
    "submit": {None, Role.READ, Role.SUBMIT},
    "admin": {None, Role.READ, Role.SUBMIT, Role.ADMIN},
}
"""By caller, the roles of operations that it may call."""

REFUSAL = {"none": 401, "wrong": 401, "read": 403, "submit": 403}

STREAMED = re.compile(r"/events$")


@pytest.fixture
async def api(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    """A server that gives bodies little time, for some operations wait for one."""
    async with serve(CHATQ_AUTH__TOKEN="static", CHATQ_API__BODY_TIMEOUT_S="1") as client:
        yield client


def path_of(operation: Operation, object_id: str = "none") -> str:
    path = re.sub(r"\{id(:path)?\}", object_id, operation.path)
    return re.sub(r"\{[a-z_]+(:path)?\}", "none", path)


async def call(
    api: httpx.AsyncClient, operation: Operation, headers: dict[str, str], object_id: str = "none"
) -> httpx.Response:
    body = {"json": {}} if operation.method == "POST" else {}
    return await api.request(operation.method, path_of(operation, object_id), headers=headers, **body)  # type: ignore[arg-type]


@pytest.mark.parametrize("caller", ALLOWED)
async def test_each_operation_lets_in_whom_its_role_says(
    api: httpx.AsyncClient, store: Store, caller: str
) -> None:
    headers = {"none": {}, "wrong": bearer("wrong")}.get(caller)
    if headers is None:
        headers = bearer(await add_token(store, role=Role(caller)))
    found, expected = {}, {}
    for operation in OPERATIONS:
        name = f"{operation.method} {operation.path}"
        status = (await call(api, operation, headers)).status_code
        found[name] = status if status in (401, 403) else "allowed"
        expected[name] = "allowed" if operation.role in ALLOWED[caller] else REFUSAL[caller]
        assert status != 500
    assert found == expected


def test_public_operations_are_few() -> None:
    """What everybody may call tells of nobody."""
    assert {one.path for one in OPERATIONS if one.role is None} == {
        "/health",
        "/ready",
        "/docs",
        "/openapi.json",
    }


def test_what_changes_something_needs_more_than_reading() -> None:
    assert [one for one in OPERATIONS if one.method != "GET" and one.role in (None, Role.READ)] == []


def test_no_operation_stands_twice() -> None:
    counts = Counter((one.method, one.path) for one in OPERATIONS)
    assert [name for name, count in counts.items() if count > 1] == []


Make = Callable[[httpx.AsyncClient, Store], Awaitable[str]]


async def make_job(owner: httpx.AsyncClient, store: Store) -> str:
    return str((await owner.post("/jobs", json={"request": CHAT})).json()["id"])


async def make_file(owner: httpx.AsyncClient, store: Store) -> str:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": CHAT}
    upload = {"file": ("in.jsonl", orjson.dumps(line))}
    return str((await owner.post("/files", files=upload, data={"purpose": "batch"})).json()["id"])


async def make_batch(owner: httpx.AsyncClient, store: Store) -> str:
    spec = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    answer = await owner.post("/batches", json={**spec, "input_file_id": await make_file(owner, store)})
    return str(answer.json()["id"])


async def make_response(owner: httpx.AsyncClient, store: Store) -> str:
    answer = await owner.post("/responses", json={"model": "ollama/m", "input": "hi", "background": True})
    return str(answer.json()["id"])


async def make_delivery(owner: httpx.AsyncClient, store: Store) -> str:
    """Of a job's end, told once."""
    job_id = await make_job(owner, store)
    await store.client.zadd(keys.WEBHOOKS_DUE, {f"job:{job_id}": 1})
    outbox = WebhookOutbox(store)
    claimed = await outbox.claim(1, token="t", lease_s=30, retry_s=1)
    await outbox.settle([Settlement(claimed[0], DeliveryState.DELIVERED, client="owner")], retry_s=1)
    return job_id


MAKERS: dict[str, Make] = {
    "jobs": make_job,
    "files": make_file,
    "batches": make_batch,
    "responses": make_response,
    "webhooks": make_delivery,
}
"""By the first part of the path: what makes an object and returns its id."""

OF_OBJECTS = [one for one in OPERATIONS if "{id" in one.path]


def kind_of(operation: Operation) -> str:
    return operation.path.split("/")[1]


def test_every_kind_of_object_is_covered() -> None:
    assert {kind_of(one) for one in OF_OBJECTS} == MAKERS.keys()


@pytest.mark.parametrize("operation", OF_OBJECTS, ids=lambda one: f"{one.method} {one.path}")
async def test_object_of_another_is_as_if_it_were_not_there(
    api: httpx.AsyncClient, store: Store, operation: Operation
) -> None:
    """The answer is that for an id which never was; the owner and an administrator get another one."""
    tokens = {name: await add_token(store, client=name) for name in ("owner", "other")}
    tokens["admin"] = await add_token(store, client="admin", role=Role.ADMIN)
    api.headers["authorization"] = f"Bearer {tokens['owner']}"
    object_id = await MAKERS[kind_of(operation)](api, store)
    unknown_id = object_id[:-6] + "zzzzzz"
    others = await call(api, operation, bearer(tokens["other"]), object_id)
    unknown = await call(api, operation, bearer(tokens["other"]), unknown_id)
    assert (others.status_code, unknown.status_code) == (404, 404)
    assert others.text.replace(object_id, "ID") == unknown.text.replace(unknown_id, "ID")
    if not STREAMED.search(operation.path):  # its events come as long as the job goes on
        for name in ("admin",) if operation.method == "DELETE" else ("admin", "owner"):
            answer = await call(api, operation, bearer(tokens[name]), object_id)
            assert answer.text.replace(object_id, "ID") != unknown.text.replace(unknown_id, "ID")
            assert answer.status_code not in (401, 403)


LISTS = [one for one in OPERATIONS if one.method == "GET" and one.path.strip("/") in MAKERS]


@pytest.mark.parametrize("operation", LISTS, ids=lambda one: one.path)
async def test_lists_show_the_callers_own(api: httpx.AsyncClient, store: Store, operation: Operation) -> None:
    owner, other = await add_token(store, client="owner"), await add_token(store, client="other")
    api.headers["authorization"] = f"Bearer {owner}"
    object_id = await MAKERS[kind_of(operation)](api, store)
    assert object_id in (await call(api, operation, bearer(owner))).text
    listed = await call(api, operation, bearer(other))
    assert (listed.status_code, object_id in listed.text) == (200, False)


async def test_list_by_ids_leaves_out_what_is_another_s(api: httpx.AsyncClient, store: Store) -> None:
    owner, other = await add_token(store, client="owner"), await add_token(store, client="other")
    api.headers["authorization"] = f"Bearer {owner}"
    job_id = await make_job(api, store)
    listed = await api.get("/jobs", params={"ids": job_id}, headers=bearer(other))
    assert job_id not in orjson.dumps(listed.json().get("data")).decode()


async def test_batch_of_another_s_file_is_refused(api: httpx.AsyncClient, store: Store) -> None:
    owner, other = await add_token(store, client="owner"), await add_token(store, client="other")
    api.headers["authorization"] = f"Bearer {owner}"
    file_id = await make_file(api, store)
    spec = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "input_file_id": file_id}
    assert (await api.post("/batches", json=spec, headers=bearer(other))).status_code == 404


async def test_same_idempotency_key_of_two_clients_is_two_objects(
    api: httpx.AsyncClient, store: Store
) -> None:
    ids = set()
    for client in ("one", "two"):
        headers = {**bearer(await add_token(store, client=client)), "Idempotency-Key": "same"}
        ids.add((await api.post("/jobs", json={"request": CHAT}, headers=headers)).json()["id"])
    assert len(ids) == 2


SUBMITS = {
    "/chat/completions": CHAT,
    "/chat": CHAT,
    "/jobs": {"request": CHAT},
    "/jobs/bulk": {"request": CHAT},
    "/responses": {"model": "ollama/m", "input": "hi"},
}
"""What makes jobs at once, and a body for it."""


@pytest.mark.parametrize("path", SUBMITS)
@pytest.mark.parametrize(
    ("bound", "code"),
    [
        ({"models": ("none/*",)}, "model_not_allowed"),
        ({"lanes": ()}, "lane_not_allowed"),
        ({"budget_usd": 0}, "insufficient_quota"),
    ],
    ids=["models", "lanes", "budget"],
)
async def test_every_way_in_keeps_a_tokens_bounds(
    api: httpx.AsyncClient, store: Store, path: str, bound: dict[str, object], code: str
) -> None:
    token = await add_token(store, **bound)
    answer = await api.post(path, json=SUBMITS[path], headers=bearer(token))
    assert code in answer.text
    assert await store.client.hget(keys.TOTALS, "accepted") is None  # type: ignore[misc]
