"""The events of a job: states, pieces, the end, and going on after a cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest

from producer.api import job_events
from shared.job import JobState
from shared.store.connect import Store
from shared.store.deltas import Append, append_deltas
from shared.store.grants import Grant
from tests.producer.api.conftest import Hand
from tests.producer.api.test_jobs import submit


@dataclass
class Event:
    name: str
    id: str
    data: dict[str, Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come often, so that tests are short."""
    monkeypatch.setattr(job_events, "POLL_S", 0.05)
    monkeypatch.setattr(job_events, "EXPLAIN_S", 0.1)


@asynccontextmanager
async def follow(
    api: httpx.AsyncClient, job_id: str, *, after: str | None = None
) -> AsyncIterator[AsyncIterator[Event]]:
    headers = {} if after is None else {"Last-Event-ID": after}
    async with api.stream("GET", f"/jobs/{job_id}/events", headers=headers) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        yield _events(reply)


async def _events(reply: httpx.Response) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in reply.aiter_lines():
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif fields:
            yield Event(fields["event"], fields["id"], orjson.loads(fields["data"]))
            fields = {}


async def write(store: Store, grant: Grant, *texts: str, first: int = 1) -> None:
    """Pieces of an answer, as a worker writes them down."""
    deltas = [
        orjson.dumps([{"index": 0, "delta": {"content": text}, "finish_reason": None}]) for text in texts
    ]
    token = grant.member.rpartition(":")[2]
    assert await append_deltas(store, [Append(grant.job_id, token, first, deltas)], retry_s=5) == [True]


def text_of(event: Event) -> str:
    return str(event.data["choices"][0]["delta"]["content"])


async def test_states_are_told_to_the_end(api: httpx.AsyncClient, hand: Hand) -> None:
    job_id = await submit(api)
    async with follow(api, job_id) as events:
        queued = await anext(events)
        assert (queued.name, queued.data["status"], queued.data["wait_reason"]) == (
            "status",
            "queued",
            "no_worker",
        )
        (grant,) = await hand.claim()
        running = await anext(events)
        assert (running.name, running.data["status"]) == ("status", "in_progress")
        await hand.answer(grant, "hello")
        end = await anext(events)
        assert (end.name, end.data["status"]) == ("end", "completed")
        assert end.data["response"]["choices"][0]["message"]["content"] == "hello"
        assert await anext(events, None) is None


async def test_job_that_goes_back_is_told_with_its_reason(api: httpx.AsyncClient, hand: Hand) -> None:
    job_id = await submit(api)
    (grant,) = await hand.claim()
    async with follow(api, job_id) as events:
        assert (await anext(events)).data["status"] == "in_progress"
        await hand.back_off(grant, delay_ms=60_000)
        waiting = await anext(events)
        assert (waiting.data["status"], waiting.data["wait_reason"]) == ("queued", "backoff")


async def test_queued_job_is_told_again_when_its_place_changes(api: httpx.AsyncClient) -> None:
    first, second = await submit(api), await submit(api)
    async with follow(api, second) as events:
        assert (await anext(events)).data["place"] == 1
        await api.delete(f"/jobs/{first}")
        await api.delete(f"/jobs/{second}")
        assert (await anext(events)).data["status"] in ("queued", "cancelled")


async def test_pieces_come_between_start_and_end(api: httpx.AsyncClient, hand: Hand, store: Store) -> None:
    job_id = await submit(api, stream=True)
    async with follow(api, job_id) as events:
        await anext(events)
        (grant,) = await hand.claim()
        await write(store, grant, "one", "two")
        await hand.answer(grant, "onetwo")
        seen = [event async for event in events]
    assert [event.name for event in seen][-3:] == ["delta", "delta", "end"]
    assert [text_of(event) for event in seen[-3:-1]] == ["one", "two"]
    assert seen[-1].data["status"] == "completed"


async def test_follower_goes_on_after_the_event_it_names(
    api: httpx.AsyncClient, hand: Hand, store: Store
) -> None:
    """Nothing twice, nothing left out."""
    job_id = await submit(api, stream=True)
    (grant,) = await hand.claim()
    await write(store, grant, "one", "two")
    async with follow(api, job_id) as events:
        assert (await anext(events)).data["status"] == "in_progress"
        one = await anext(events)
    assert text_of(one) == "one"
    await write(store, grant, "three", first=3)
    await hand.answer(grant, "onetwothree")
    async with follow(api, job_id, after=one.id) as events:
        seen = [event async for event in events]
    assert [event.name for event in seen] == ["delta", "delta", "end"]
    assert [text_of(event) for event in seen[:2]] == ["two", "three"]


async def test_who_was_told_the_end_need_not_come_back(api: httpx.AsyncClient, hand: Hand) -> None:
    """A browser connects again by itself, until it gets a 204."""
    job_id = await submit(api)
    (grant,) = await hand.claim()
    await hand.answer(grant)
    async with follow(api, job_id) as events:
        (end,) = [event async for event in events]
    again = await api.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": end.id})
    assert (again.status_code, again.content) == (204, b"")


async def test_silent_stream_is_kept_alive(
    api: httpx.AsyncClient, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_events, "KEEP_ALIVE_S", 0.01)
    job_id = await submit(api)
    await hand.claim()
    async with api.stream("GET", f"/jobs/{job_id}/events") as reply:
        async for line in reply.aiter_lines():
            if line == ": keep-alive":
                break


@pytest.mark.parametrize(
    "junk", [None, "", "x", "1", "1/", "1/done", "-1/queued", "9999999999/queued", "²/queued"]
)
def test_what_is_no_event_id_says_nothing(junk: str | None) -> None:
    assert job_events.Position.read(junk) == (0, None)


def test_event_id_is_read_as_it_was_written() -> None:
    told = job_events.Position(7, JobState.IN_PROGRESS)
    assert (str(told), job_events.Position.read("7/in_progress")) == ("7/in_progress", told)
