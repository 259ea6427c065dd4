"""Responses in Redis: taken down once, ended once, gone when deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from shared.store import responses as module
from shared.store.responses import (
    FIRST_LOOK_S,
    STORED_TTL_S,
    UNSTORED_TTL_S,
    ResponseStore,
    StoredResponse,
    Taken,
    request_digest,
)
from tests.shared.store.conftest import Bench

ID = "resp_1"

RESPONSE = StoredResponse(ID, "me", 1_790_000_000.5, {"model": "m", "store": True}, False)

ITEMS = [{"id": "msg_1", "type": "message", "role": "user", "content": []}]


@pytest.fixture
async def responses(bench: Bench) -> AsyncIterator[ResponseStore]:
    yield ResponseStore(bench.store)


async def accepted(responses: ResponseStore, response: StoredResponse = RESPONSE) -> Taken:
    return await responses.accept(response, items=ITEMS, digest="d")


def make_due(bench: Bench) -> None:
    for member in bench.raw.zrange("chatq:responses:open", 0, -1):
        bench.raw.zadd("chatq:responses:open", {member: 1})


async def test_accepted_response_is_read_as_it_was(responses: ResponseStore) -> None:
    assert await accepted(responses) is Taken.NEW
    assert await responses.read(ID) == RESPONSE
    assert await responses.read_items(ID) == ITEMS


async def test_same_again_is_known_and_another_is_a_conflict(responses: ResponseStore) -> None:
    assert await responses.known(ID, "d") is None
    await accepted(responses)
    assert await accepted(responses) is Taken.KNOWN
    assert await responses.accept(RESPONSE, items=[], digest="other") is Taken.CONFLICT
    assert await responses.known(ID, "d") is Taken.KNOWN
    assert await responses.known(ID, "other") is Taken.CONFLICT
    assert await responses.read_items(ID) == ITEMS


async def test_first_outcome_stands(bench: Bench, responses: ResponseStore) -> None:
    await accepted(responses)
    await responses.end(RESPONSE, {"status": "completed"})
    await responses.end(RESPONSE, {"status": "failed"})
    assert await responses.read(ID) == replace(RESPONSE, outcome={"status": "completed"})
    assert bench.raw.zcard("chatq:responses:open") == 0


@pytest.mark.parametrize(("store", "ttl_s"), [(True, STORED_TTL_S), (False, UNSTORED_TTL_S)])
async def test_life_is_counted_from_the_end(
    bench: Bench, responses: ResponseStore, store: bool, ttl_s: int
) -> None:
    """One that is not stored must outlast its job, however long that waits; then it has an hour."""
    response = replace(RESPONSE, asked={"store": store})
    await accepted(responses, response)
    assert STORED_TTL_S - 5 < bench.raw.ttl(f"chatq:response:{ID}") <= STORED_TTL_S
    await responses.end(response, {})
    assert ttl_s - 5 < bench.raw.ttl(f"chatq:response:{ID}") <= ttl_s


async def test_deleted_response_says_nothing_and_takes_no_outcome(
    bench: Bench, responses: ResponseStore
) -> None:
    await accepted(responses)
    assert await responses.delete(ID)
    assert not await responses.delete(ID)
    await responses.end(RESPONSE, {"secret": 1})
    assert await responses.read(ID) is None
    assert await responses.read_items(ID) == []
    assert set(bench.raw.hkeys(f"chatq:response:{ID}")) == {"digest", "deleted"}


async def test_key_of_a_deleted_response_makes_no_new_one(responses: ResponseStore) -> None:
    await accepted(responses)
    await responses.delete(ID)
    assert await accepted(responses) is Taken.DELETED
    assert await responses.known(ID, "d") is Taken.DELETED


async def test_response_without_outcome_is_due_for_a_look_again_and_again(
    bench: Bench, responses: ResponseStore
) -> None:
    await accepted(responses)
    assert await responses.due(most=10) == []
    make_due(bench)
    bench.raw.expire(f"chatq:response:{ID}", 10)
    assert await responses.due(most=10) == [ID]
    assert await responses.due(most=10) == []
    bench.raw.zincrby("chatq:responses:open", -FIRST_LOOK_S * 1000, ID)
    assert await responses.due(most=10) == [ID]
    assert bench.raw.ttl(f"chatq:response:{ID}") > 10


async def test_response_that_is_gone_or_set_aside_is_not_looked_after(
    bench: Bench, responses: ResponseStore
) -> None:
    await accepted(responses)
    await accepted(responses, replace(RESPONSE, id="resp_2"))
    bench.raw.delete("chatq:response:resp_2")
    await responses.set_aside(ID)
    make_due(bench)
    assert await responses.due(most=10) == []
    assert bench.raw.zcard("chatq:responses:open") == 0


@pytest.mark.parametrize("head", [b"{", b"[]", b"{}", b'{"client":1}'])
async def test_broken_data_is_no_response(bench: Bench, responses: ResponseStore, head: bytes) -> None:
    bench.raw.hset(f"chatq:response:{ID}", mapping={"head": head, "input": b"{"})
    bench.raw.expire(f"chatq:response:{ID}", 100)
    assert await responses.read(ID) is None
    assert await responses.read_items(ID) == []


async def test_another_kind_of_key_is_no_response(bench: Bench, responses: ResponseStore) -> None:
    bench.raw.set(f"chatq:response:{ID}", "x", ex=100)
    assert await responses.read(ID) is None


async def test_field_over_the_bound_is_not_read(
    responses: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accepted(responses)
    monkeypatch.setattr(module, "MAX_FIELD_BYTES", 10)
    assert await responses.read(ID) is None


def test_order_of_fields_is_no_other_request() -> None:
    assert request_digest({"a": 1, "b": {"c": 2, "d": 3}}) == request_digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert request_digest({"a": 1}) != request_digest({"a": 2})
