"""Responses over HTTP, with OpenAI's own client; every object passes the client's strict models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response
from openai.types.responses.response_item_list import ResponseItemList

from producer import Producer
from producer.api.errors import not_found
from producer.responses.keeper import ResponseKeeper
from shared.access_token import AccessToken, Role, digest_of, id_of, new_token
from shared.errors import StoreFull
from shared.job import JobError
from shared.store.connect import Store
from shared.store.responses import ResponseStore, Taken
from shared.store.rq_layout import decode_call
from shared.store.tokens import TokenStore
from tests.producer.api.conftest import Hand, Serve
from tests.support import RedisServer, WorkerRunner, wait_until

MODEL = "ollama/m"

ASK: dict[str, Any] = {"model": MODEL, "input": "hi"}


@pytest.fixture
async def client(api: httpx.AsyncClient) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=str(api.base_url), api_key="any", max_retries=0) as opened:
        yield opened


async def started(hand: Hand) -> Any:
    """The one job that waits, claimed."""
    async with asyncio.timeout(10):
        while not (grants := await hand.claim()):
            await asyncio.sleep(0.01)
    return grants[0]


async def token(store: Store, client: str) -> str:
    """A token of a client's that may submit."""
    text = new_token()
    record = AccessToken(
        id=id_of(text), digest=digest_of(text), client=client, role=Role.SUBMIT, created_at=1.0
    )
    await TokenStore(store).add(record)
    return text


def strict(response: Response) -> Response:
    """As inspect_ai reads it: every field that OpenAI's models ask for is there."""
    return Response.model_validate(response.model_dump(mode="json", by_alias=True, warnings=False))


@pytest.mark.usefixtures("worker")
async def test_foreground_waits_for_the_answer(client: AsyncOpenAI) -> None:
    response = strict(await client.responses.create(**ASK, instructions="be brief", metadata={"a": "b"}))
    assert response.status == "completed"
    assert response.output_text.startswith("echo ")
    assert response.usage is not None
    assert response.usage.total_tokens > 0
    assert (response.instructions, response.metadata) == ("be brief", {"a": "b"})


@pytest.mark.usefixtures("worker")
async def test_finished_response_can_be_read_again(client: AsyncOpenAI) -> None:
    response = await client.responses.create(**ASK)
    assert await client.responses.retrieve(response.id) == response


async def test_background_is_queued_then_polled_to_its_end(client: AsyncOpenAI, hand: Hand) -> None:
    made = strict(await client.responses.create(**ASK, background=True))
    assert (made.status, made.output, made.usage, made.background) == ("queued", [], None, True)
    grant = await started(hand)
    assert strict(await client.responses.retrieve(made.id)).status == "in_progress"
    await hand.answer(grant, "hello")
    done = strict(await client.responses.retrieve(made.id))
    assert (done.status, done.output_text, done.created_at) == ("completed", "hello", made.created_at)


async def test_unstored_background_response_can_be_polled(client: AsyncOpenAI, hand: Hand) -> None:
    """inspect_ai sends both."""
    made = await client.responses.create(**ASK, background=True, store=False)
    await hand.answer(await started(hand))
    assert strict(await client.responses.retrieve(made.id)).status == "completed"


async def test_cancelled_twice_is_the_same_response(client: AsyncOpenAI) -> None:
    made = await client.responses.create(**ASK, background=True)
    first = strict(await client.responses.cancel(made.id))
    assert first.status == "cancelled"
    assert await client.responses.cancel(made.id) == first
    assert await client.responses.retrieve(made.id) == first


async def test_cancel_after_the_end_changes_nothing(client: AsyncOpenAI, hand: Hand) -> None:
    made = await client.responses.create(**ASK, background=True)
    await hand.answer(await started(hand))
    assert (await client.responses.cancel(made.id)).status == "completed"


async def test_foreground_response_is_not_cancelled(client: AsyncOpenAI, hand: Hand) -> None:
    waiting = asyncio.create_task(client.responses.create(**ASK))
    await hand.answer(await started(hand))
    response = await waiting
    with pytest.raises(openai.BadRequestError, match="background"):
        await client.responses.cancel(response.id)


async def test_deleted_response_is_gone_with_its_job(client: AsyncOpenAI, hand: Hand, store: Store) -> None:
    made = await client.responses.create(**ASK, background=True)
    await hand.answer(await started(hand), "a secret")
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.delete(made.id)
    assert not await store.client.exists(f"rq:job:{made.id.removeprefix('resp_')}")


async def test_deleting_ends_what_is_at_work(client: AsyncOpenAI, hand: Hand) -> None:
    made = await client.responses.create(**ASK, background=True)
    await client.responses.delete(made.id)
    assert await hand.claim() == []


@pytest.mark.parametrize("response_id", ["resp_unknown", "nope"])
async def test_unknown_response_is_404(client: AsyncOpenAI, response_id: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.responses.retrieve(response_id)
    assert caught.value.body["message"].startswith("no response")  # type: ignore[index]


async def test_failed_job_is_an_error_in_the_foreground(client: AsyncOpenAI, hand: Hand) -> None:
    waiting = asyncio.create_task(client.responses.create(**ASK))
    await hand.fail(await started(hand), JobError("context_too_long", "too long", status=400))
    with pytest.raises(openai.BadRequestError, match="too long"):
        await waiting


async def test_failed_job_is_a_failed_response_in_the_background(client: AsyncOpenAI, hand: Hand) -> None:
    made = await client.responses.create(**ASK, background=True)
    await hand.fail(await started(hand), JobError("context_too_long", "too long", status=400))
    failed = strict(await client.responses.retrieve(made.id))
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("invalid_prompt", "too long")


async def test_dropped_foreground_call_ends_its_job(client: AsyncOpenAI, hand: Hand, store: Store) -> None:
    waiting = asyncio.create_task(client.responses.create(**ASK))
    grant = await started(hand)
    waiting.cancel()
    async with asyncio.timeout(10):
        while await store.client.hget(f"rq:job:{grant.job_id}", "status") != b"canceled":
            await asyncio.sleep(0.01)


async def test_dropped_foreground_call_with_a_key_gets_its_answer_when_it_comes_again(
    client: AsyncOpenAI, hand: Hand
) -> None:
    headers = {"Idempotency-Key": "k"}
    waiting = asyncio.create_task(client.responses.create(**ASK, extra_headers=headers))
    grant = await started(hand)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await hand.answer(grant, "paid for once")
    assert (await client.responses.create(**ASK, extra_headers=headers)).output_text == "paid for once"


@pytest.mark.usefixtures("worker")
async def test_tools_and_their_results_go_round(client: AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools: list[Any] = [{"type": "function", "name": "weather", "parameters": schema, "strict": True}]
    first = strict(await client.responses.create(**ASK, tools=tools))
    (call,) = first.output
    assert call.type == "function_call"
    assert call.name == "weather"
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = await client.responses.create(
        model=MODEL, input=[result], tools=tools, previous_response_id=first.id
    )
    assert strict(second).output_text.startswith("echo ")
    items = [item.type async for item in client.responses.input_items.list(second.id, order="asc")]
    assert items == ["message", "function_call", "function_call_output"]


@pytest.mark.usefixtures("worker")
async def test_schema_of_the_answer_is_asked_for(client: AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    form: Any = {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}}
    response = strict(await client.responses.create(**ASK, text=form))
    assert response.output_text.startswith('{"x":"echo ')


async def test_conversation_goes_on_from_the_response_before(client: AsyncOpenAI, hand: Hand) -> None:
    first = await client.responses.create(**ASK, instructions="only here", background=True)
    await hand.answer(await started(hand), "hello")
    await client.responses.create(
        model=MODEL, input="and now?", previous_response_id=first.id, background=True
    )
    data = (await started(hand)).data
    assert decode_call(data, max_bytes=10_000)["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "and now?"},
    ]


@pytest.mark.parametrize("is_there", [True, False])
async def test_conversation_does_not_go_on_from_nothing(client: AsyncOpenAI, is_there: bool) -> None:
    made = await client.responses.create(**ASK, background=True)
    previous = made.id if is_there else "resp_unknown"
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(**ASK, previous_response_id=previous)
    assert caught.value.param == "previous_response_id"


async def test_input_items_are_paged(client: AsyncOpenAI) -> None:
    turns: list[Any] = [{"role": "user", "content": f"turn {n}"} for n in range(5)]
    made = await client.responses.create(model=MODEL, input=turns, background=True)
    page = await client.responses.input_items.list(made.id, limit=2)
    ResponseItemList.model_validate(page.model_dump())
    assert page.has_more
    contents: list[Any] = [item.to_dict()["content"] async for item in page]
    assert [content[0]["text"] for content in contents] == [f"turn {n}" for n in (4, 3, 2, 1, 0)]
    oldest_first = [
        item.id async for item in client.responses.input_items.list(made.id, order="asc", limit=3)
    ]
    assert oldest_first == [item.id async for item in client.responses.input_items.list(made.id)][::-1]
    assert (await client.responses.input_items.list(made.id, after=oldest_first[0])).data == []


async def test_same_key_and_body_is_the_same_response(client: AsyncOpenAI, hand: Hand) -> None:
    key = {"Idempotency-Key": "once"}
    first = await client.responses.create(**ASK, background=True, extra_headers=key)
    assert await client.responses.create(**ASK, background=True, extra_headers=key) == first
    grant = await started(hand)
    assert await hand.claim() == []
    await hand.answer(grant)
    again = await client.responses.create(**ASK, background=True, extra_headers=key)
    assert (again.id, again.status) == (first.id, "completed")


@pytest.mark.parametrize("change", [{"input": "other"}, {"metadata": {"a": "b"}}, {"background": False}])
async def test_same_key_with_another_body_is_a_conflict(client: AsyncOpenAI, change: dict[str, Any]) -> None:
    key = {"Idempotency-Key": "once"}
    await client.responses.create(**ASK, background=True, extra_headers=key)
    with pytest.raises(openai.ConflictError) as caught:
        await client.responses.create(**{**ASK, "background": True, **change}, extra_headers=key)
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_key_brings_the_answer_back_when_its_job_is_gone(
    client: AsyncOpenAI, hand: Hand, redis_server: RedisServer
) -> None:
    """Nothing is asked and paid for twice."""
    key = {"Idempotency-Key": "once"}
    waiting = asyncio.create_task(client.responses.create(**ASK, extra_headers=key))
    await hand.answer(await started(hand), "hello")
    first = await waiting
    with redis_server.client() as raw:
        await wait_until(lambda: bool(raw.hexists(f"chatq:response:{first.id}", "outcome")))
        raw.delete(f"rq:job:{first.id.removeprefix('resp_')}")
    assert await client.responses.create(**ASK, extra_headers=key) == first


async def test_key_brings_the_failure_back_when_its_job_is_gone(
    client: AsyncOpenAI, hand: Hand, redis_server: RedisServer
) -> None:
    key = {"Idempotency-Key": "once"}
    waiting = asyncio.create_task(client.responses.create(**ASK, extra_headers=key))
    grant = await started(hand)
    await hand.fail(grant, JobError("overloaded", "too busy", 503))
    with pytest.raises(openai.InternalServerError):
        await waiting
    with redis_server.client() as raw:
        await wait_until(lambda: bool(raw.hexists(f"chatq:response:resp_{grant.job_id}", "outcome")))
        raw.delete(f"rq:job:{grant.job_id}")
    with pytest.raises(openai.InternalServerError, match="too busy") as caught:
        await client.responses.create(**ASK, extra_headers=key)
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_key_of_a_deleted_response_makes_nothing(client: AsyncOpenAI) -> None:
    key = {"Idempotency-Key": "once"}
    made = await client.responses.create(**ASK, background=True, extra_headers=key)
    await client.responses.delete(made.id)
    with pytest.raises(openai.ConflictError, match="deleted"):
        await client.responses.create(**ASK, background=True, extra_headers=key)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"model": None}, "model"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"background": "yes"}, "background"),
        ({"responses_request": {"input": "x"}}, "responses_request"),
        ({"chatq": {"webhook": "x"}}, "chatq"),
        ({"chatq": {"webhook_url": "ftp://x"}}, "webhook_url"),
    ],
)
async def test_wrong_field_is_named(api: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    answer = await api.post("/responses", json={**ASK, **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", ""), ("GET", "?stream=true")],
)
async def test_response_of_another_client_is_not_there(
    api: httpx.AsyncClient, store: Store, method: str, path: str
) -> None:
    """The answer is the same as for one that never existed."""
    made = (await api.post("/responses", json={**ASK, "background": True})).json()
    stranger = {"Authorization": f"Bearer {await token(store, 'stranger')}"}
    answer = await api.request(method, f"/responses/{made['id']}{path}", headers=stranger)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == not_found("response", made["id"]).args[0]


async def test_conversation_of_another_client_is_not_followed(api: httpx.AsyncClient, store: Store) -> None:
    made = (await api.post("/responses", json={**ASK, "background": True})).json()
    stranger = {"Authorization": f"Bearer {await token(store, 'stranger')}"}
    body = {**ASK, "previous_response_id": made["id"]}
    answer = await api.post("/responses", json=body, headers=stranger)
    assert answer.json()["error"]["code"] == "previous_response_not_found"


@pytest.mark.parametrize(("headers", "is_dropped"), [({}, True), ({"Idempotency-Key": "once"}, False)])
async def test_job_that_cannot_be_found_again_is_not_paid_for(
    api: httpx.AsyncClient,
    hand: Hand,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    is_dropped: bool,
) -> None:
    """With a key, the same call comes again and takes the job over."""

    async def refuse(*_: Any, **__: Any) -> Taken:
        raise StoreFull("full")

    with monkeypatch.context() as patch:
        patch.setattr(ResponseStore, "accept", refuse)
        answer = await api.post("/responses", json={**ASK, "background": True}, headers=headers)
    assert answer.status_code == 503
    assert (await hand.claim() == []) is is_dropped


async def test_outcome_that_nobody_saw_is_kept(
    client: AsyncOpenAI, hand: Hand, producer: Producer, redis_server: RedisServer
) -> None:
    """The job's result lives for a day, the response for a month."""
    made = await client.responses.create(**ASK, background=True)
    await hand.answer(await started(hand), "kept")
    keeper = ResponseKeeper(ResponseStore(producer.store), producer)
    with redis_server.client() as raw:
        raw.zadd("chatq:responses:open", {made.id: 1})
        assert await keeper.look() == [made.id]
        raw.delete(f"rq:job:{made.id.removeprefix('resp_')}")
    assert (await client.responses.retrieve(made.id)).output_text == "kept"


async def test_seen_outcome_outlives_the_job(
    client: AsyncOpenAI, hand: Hand, redis_server: RedisServer
) -> None:
    made = await client.responses.create(**ASK, background=True)
    await hand.answer(await started(hand), "seen")
    done = await client.responses.retrieve(made.id)
    with redis_server.client() as raw:
        await wait_until(lambda: bool(raw.hexists(f"chatq:response:{made.id}", "outcome")))
        raw.delete(f"rq:job:{made.id.removeprefix('resp_')}")
    assert await client.responses.retrieve(made.id) == done


async def test_response_whose_job_is_lost_has_failed(client: AsyncOpenAI, redis_server: RedisServer) -> None:
    made = await client.responses.create(**ASK, background=True)
    with redis_server.client() as raw:
        raw.delete(f"rq:job:{made.id.removeprefix('resp_')}")
    failed = strict(await client.responses.retrieve(made.id))
    assert failed.status == "failed"


async def test_hosted_tools_go_where_the_provider_has_them(serve: Serve, workers: WorkerRunner) -> None:
    """The provider's own items come back, under chatq's id."""
    own_words = {"CHATQ_PROVIDERS__OPENROUTER__WIRE": "responses"}
    workers.start(**own_words)
    async with serve(**own_words) as api:
        body = {**ASK, "model": "openrouter/m", "tools": [{"type": "web_search"}]}
        answer = await api.post("/responses", json=body)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        again = await api.get(f"/responses/{found['id']}")
    Response.model_validate(found)
    assert found["output"][0]["id"] == "msg_sim0"
    assert again.json() == found
