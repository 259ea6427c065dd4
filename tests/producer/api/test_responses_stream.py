"""Streamed responses over HTTP: with OpenAI's client, broken off and taken up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest
from openai import AsyncOpenAI
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from producer.api import event_stream
from shared.background import end_tasks
from shared.job import JobError
from shared.store.connect import Store
from shared.store.deltas import Append, append_deltas
from shared.store.grants import Grant
from tests.producer.api.conftest import Hand
from tests.support import RedisServer, wait_until

ASK: dict[str, Any] = {"model": "ollama/m", "input": "hi", "stream": True}

BACKGROUND = {**ASK, "background": True}

STRICT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


class Stream:
    """A streamed call under way, and what has come of it."""

    def __init__(self, api: httpx.AsyncClient, method: str, path: str, **options: Any) -> None:
        self.lines: list[str] = []
        self._task = asyncio.create_task(self._follow(api, method, path, options))

    async def _follow(self, api: httpx.AsyncClient, method: str, path: str, options: dict[str, Any]) -> None:
        async with api.stream(method, path, **options) as response:
            async for line in response.aiter_lines():
                self.lines.append(line)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those that came; each is what its `event:` line says, and passes the client's models."""
        found = [orjson.loads(line[6:]) for line in self.lines if line.startswith("data: ")]
        assert [line[7:] for line in self.lines if line.startswith("event: ")][: len(found)] == [
            STRICT.validate_python(one).type for one in found
        ]
        return found

    @property
    def types(self) -> list[str]:
        return [one["type"].removeprefix("response.") for one in self.events]

    @property
    def text(self) -> str:
        return "".join(one["delta"] for one in self.events if one["type"] == "response.output_text.delta")

    async def until(self, is_true: Callable[[], bool]) -> None:
        await wait_until(lambda: is_true() or self._task.done())
        assert is_true()

    async def ended(self) -> None:
        await asyncio.wait_for(self._task, 20)

    async def drop(self) -> None:
        await end_tasks(self._task)


Begin = Callable[..., Stream]


@pytest.fixture
async def begin(api: httpx.AsyncClient) -> AsyncIterator[Begin]:
    """Starts streamed calls; drops what is left of them."""
    begun: list[Stream] = []

    def start(body: dict[str, Any] | None = None, response_id: str = "", **query: Any) -> Stream:
        if body is not None:
            begun.append(Stream(api, "POST", "/responses", json=body))
        else:
            params = {"stream": "true", **query}
            begun.append(Stream(api, "GET", f"/responses/{response_id}", params=params))
        return begun[-1]

    yield start
    for stream in begun:
        await stream.drop()


@pytest.fixture
async def client(api: httpx.AsyncClient) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=str(api.base_url), api_key="any", max_retries=0) as opened:
        yield opened


async def claim(hand: Hand) -> Grant:
    async with asyncio.timeout(10):
        while not (grants := await hand.claim()):
            await asyncio.sleep(0.01)
    return grants[0]


async def tell(store: Store, grant: Grant, first: int, *texts: str) -> None:
    pieces = [orjson.dumps([{"index": 0, "delta": {"content": text}}]) for text in texts]
    assert await append_deltas(store, [Append(grant.job_id, grant.token, first, pieces)], retry_s=5) == [True]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("background", [True, False])
async def test_official_helper_accumulates_the_stream(client: AsyncOpenAI, background: bool) -> None:
    async with client.responses.stream(model="ollama/m", input="hi", background=background) as stream:
        types = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert types.count("response.output_text.delta") > 2
    assert (final.status, final.output_text.split()[0]) == ("completed", "echo")
    assert (await client.responses.retrieve(final.id)).output_text == final.output_text


@pytest.mark.usefixtures("worker")
async def test_call_of_a_function_is_streamed(client: AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools: list[Any] = [{"type": "function", "name": "weather", "parameters": schema, "strict": True}]
    async with client.responses.stream(model="ollama/m", input="hi", tools=tools) as stream:
        types = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert "response.function_call_arguments.delta" in types
    assert [item.type for item in final.output] == ["function_call"]


async def test_events_come_before_the_answer_is_whole(begin: Begin, hand: Hand, store: Store) -> None:
    stream = begin(ASK)
    grant = await claim(hand)
    await tell(store, grant, 1, "hel")
    await stream.until(lambda: stream.text == "hel")
    await tell(store, grant, 2, "lo")
    await stream.until(lambda: stream.text == "hello")
    await hand.answer(grant, "hello")
    await stream.ended()
    assert stream.types[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]


async def test_dropped_after_event_4_and_taken_up_again(begin: Begin, hand: Hand, store: Store) -> None:
    """The two halves are the whole, without a gap and without a repetition."""
    first = begin(BACKGROUND)
    grant = await claim(hand)
    await tell(store, grant, 1, "hel")
    await first.until(lambda: len(first.events) >= 5)
    await first.drop()
    kept = first.events[:5]
    assert [one["sequence_number"] for one in kept] == [0, 1, 2, 3, 4]
    second = begin(response_id=kept[0]["response"]["id"], starting_after=4)
    await tell(store, grant, 2, "lo")
    await second.until(lambda: second.text.endswith("lo"))
    await hand.answer(grant, "hello")
    await second.ended()
    whole = begin(response_id=kept[0]["response"]["id"])
    await whole.ended()
    assert kept + second.events == whole.events
    assert whole.text == "hello"


async def test_helper_takes_up_from_the_start_and_filters(
    client: AsyncOpenAI, hand: Hand, store: Store
) -> None:
    """`responses.stream(response_id=…)` asks from 0 and leaves out by itself."""
    made = await client.responses.create(**BACKGROUND)
    grant = await claim(hand)
    await tell(store, grant, 1, "hel", "lo")
    await hand.answer(grant, "hello")
    response_id = (await anext(aiter(made))).response.id
    async with client.responses.stream(response_id=response_id, starting_after=4) as stream:
        numbers = [event.sequence_number async for event in stream]
        final = await stream.get_final_response()
    assert numbers == list(range(5, numbers[-1] + 1))
    assert final.output_text == "hello"


async def test_official_client_takes_up_by_number(client: AsyncOpenAI, hand: Hand, store: Store) -> None:
    made = await client.responses.create(**BACKGROUND)
    response_id = (await anext(aiter(made))).response.id
    grant = await claim(hand)
    await tell(store, grant, 1, "hello")
    await hand.answer(grant, "hello")
    events = await client.responses.retrieve(response_id, stream=True, starting_after=4)
    found = [event async for event in events]
    assert [event.sequence_number for event in found] == list(range(5, 5 + len(found)))
    assert found[-1].type == "response.completed"


async def test_answer_that_never_streamed_comes_in_one_piece(begin: Begin, hand: Hand) -> None:
    stream = begin(ASK)
    await hand.answer(await claim(hand), "hello")
    await stream.ended()
    assert stream.types.count("output_text.delta") == 1
    assert (stream.text, stream.types[-1]) == ("hello", "completed")


async def test_response_made_without_a_stream_is_followed(
    begin: Begin, api: httpx.AsyncClient, hand: Hand
) -> None:
    made = (await api.post("/responses", json={**ASK, "stream": False, "background": True})).json()
    stream = begin(response_id=made["id"])
    await stream.until(lambda: stream.types == ["created", "queued"])
    await hand.answer(await claim(hand), "hello")
    await stream.ended()
    again = begin(response_id=made["id"])
    await again.ended()
    assert again.events == stream.events
    assert stream.text == "hello"


async def test_failure_is_the_last_event(begin: Begin, hand: Hand, store: Store) -> None:
    stream = begin(ASK)
    grant = await claim(hand)
    await tell(store, grant, 1, "hel")
    await stream.until(lambda: stream.text == "hel")
    await hand.fail(grant, JobError("stream_broken", "the answer broke off", None, "ollama"))
    await stream.ended()
    assert stream.types[-1] == "failed"
    assert stream.events[-1]["response"]["error"]["message"] == "the answer broke off"


async def test_cancelled_stream_just_ends(begin: Begin, api: httpx.AsyncClient) -> None:
    stream = begin(BACKGROUND)
    await stream.until(lambda: stream.types == ["created", "queued"])
    await api.post(f"/responses/{stream.events[0]['response']['id']}/cancel")
    await stream.ended()
    assert stream.types == ["created", "queued"]


async def test_each_stream_has_its_own_request_id_alone(api: httpx.AsyncClient, hand: Hand) -> None:
    answers = []
    for _ in range(2):
        asking = asyncio.create_task(api.post("/responses", json=ASK))
        await hand.answer(await claim(hand))
        answers.append(await asking)
    first, second = (answer.headers.get_list("x-request-id") for answer in answers)
    assert (len(first), len(second)) == (1, 1)
    assert first != second


async def test_wrong_request_has_a_status(api: httpx.AsyncClient) -> None:
    answer = await api.post("/responses", json={**ASK, "tools": [{"type": "web_search"}]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools.0.type")


async def test_dropping_a_foreground_stream_ends_its_job(
    begin: Begin, hand: Hand, redis_server: RedisServer
) -> None:
    stream = begin(ASK)
    grant = await claim(hand)
    await stream.until(lambda: bool(stream.events))
    await stream.drop()
    with redis_server.client() as raw:
        await wait_until(lambda: raw.hget(f"rq:job:{grant.job_id}", "status") == "canceled")


async def test_dropping_a_background_stream_ends_nothing(
    begin: Begin, hand: Hand, redis_server: RedisServer
) -> None:
    stream = begin(BACKGROUND)
    grant = await claim(hand)
    await stream.until(lambda: bool(stream.events))
    await stream.drop()
    again = begin(response_id=stream.events[0]["response"]["id"])
    await hand.answer(grant, "hello")
    await again.ended()
    assert again.types[-1] == "completed"


async def test_events_that_cannot_be_made_again_give_way_to_the_object(
    begin: Begin, api: httpx.AsyncClient, hand: Hand, store: Store, redis_server: RedisServer
) -> None:
    """Deltas are kept for an hour, the response for a month."""
    stream = begin(BACKGROUND)
    grant = await claim(hand)
    await tell(store, grant, 1, "hello")
    await hand.answer(grant, "hello")
    await stream.ended()
    path = f"/responses/{stream.events[0]['response']['id']}"
    with redis_server.client() as raw:
        raw.delete(f"chatq:deltas:{grant.job_id}")
        await wait_until(lambda: bool(raw.hexists(f"chatq:response:resp_{grant.job_id}", "outcome")))
        raw.delete(f"rq:job:{grant.job_id}")
    answer = await api.get(path, params={"stream": "true", "starting_after": 3})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == (await api.get(path)).json()


@pytest.mark.parametrize("number", ["-1", "x", "9" * 30])
async def test_number_that_is_none_is_refused(api: httpx.AsyncClient, number: str) -> None:
    answer = await api.get("/responses/resp_1", params={"stream": "true", "starting_after": number})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "starting_after")


async def test_waiting_stream_is_kept_alive(
    begin: Begin, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_S", 0.05)
    stream = begin(ASK)
    await stream.until(lambda: stream.lines.count(": keep-alive") >= 3)
    await hand.answer(await claim(hand), "hello")
    await stream.ended()
    assert stream.types[-1] == "completed"
