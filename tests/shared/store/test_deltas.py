"""Pieces of streamed answers in the store: the fence, sending twice, following, what is lost and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import orjson
import pytest

from shared.errors import StoreFull
from shared.store import deltas as deltas_module
from shared.store import keys
from shared.store.deltas import PAGE, TTL_S, Append, Delta, DeltaReader, append_deltas
from shared.store.grants import Grant
from tests.shared.store.conftest import Bench
from tests.support import wait_until


def choices(text: str) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": {"content": text}, "finish_reason": None}]


async def append(bench: Bench, grant: Grant, first: int, *texts: str) -> bool:
    pieces = [orjson.dumps(choices(text)) for text in texts]
    (is_in,) = await append_deltas(bench.store, [Append(grant.job_id, grant.token, first, pieces)], retry_s=5)
    return is_in


def written(bench: Bench, job_id: str = "a") -> list[str]:
    return [entry_id for entry_id, _ in bench.raw.xrange(keys.deltas(job_id))]


async def begin(bench: Bench, job_id: str = "a") -> Grant:
    await bench.submit(job_id)
    (grant,) = await bench.claim()
    return grant


@pytest.fixture
async def reader(bench: Bench) -> AsyncIterator[DeltaReader]:
    reader = DeltaReader(bench.store)
    yield reader
    await reader.stop()


async def everything(reader: DeltaReader, job_id: str = "a", after: str | None = None) -> list[Delta]:
    async with asyncio.timeout(10):
        return [delta async for delta in reader.follow(job_id, after)]


def texts(deltas: list[Delta]) -> str:
    return "".join(delta.choices[0]["delta"]["content"] for delta in deltas)


# -- writing ------------------------------------------------------------------------------------


async def test_pieces_are_numbered_and_do_not_stay(bench: Bench) -> None:
    grant = await begin(bench)
    assert await append(bench, grant, 1, "a", "b")
    assert await append(bench, grant, 3, "c")
    assert written(bench) == ["1-0", "2-0", "3-0"]
    assert 0 < bench.raw.ttl(keys.deltas("a")) <= TTL_S


async def test_pieces_sent_twice_are_in_once(bench: Bench) -> None:
    """Also when what was sent the second time has more behind it."""
    grant = await begin(bench)
    assert await append(bench, grant, 1, "a", "b")
    assert await append(bench, grant, 1, "a", "b", "c")
    assert written(bench) == ["1-0", "2-0", "3-0"]


async def test_several_attempts_go_in_one_call(bench: Bench) -> None:
    await bench.submit("a", "b")
    grants = await bench.claim()
    appends = [Append(grant.job_id, grant.token, 1, [b"[]"] * n) for n, grant in enumerate(grants, 1)]
    assert await append_deltas(bench.store, appends, retry_s=5) == [True, True]
    assert sorted(len(written(bench, job_id)) for job_id in "ab") == [1, 2]


@pytest.mark.parametrize("how", ["given back", "cancelled", "answered", "gone"])
async def test_attempt_that_lost_its_job_writes_nothing(bench: Bench, how: str) -> None:
    grant = await begin(bench)
    if how == "given back":
        await bench.give_back(grant)
    elif how == "cancelled":
        await bench.jobs.cancel(["a"])
    elif how == "answered":
        await bench.end(grant)
    else:
        bench.raw.delete("rq:job:a")
    assert not await append(bench, grant, 1, "x")
    assert written(bench) == []


async def test_later_attempt_does_not_go_on_where_another_stopped(bench: Bench) -> None:
    grant = await begin(bench)
    await append(bench, grant, 1, "a")
    await bench.give_back(grant)
    (second,) = await bench.claim()
    assert not await append(bench, second, 2, "b")
    assert written(bench) == ["1-0"]


async def test_full_store_takes_no_pieces_but_the_answer(bench: Bench) -> None:
    grant = await begin(bench)
    bench.raw.config_set("maxmemory", 1)
    try:
        with suppress(StoreFull):  # from Redis 7.0 on the script is refused as a whole
            assert not await append(bench, grant, 1, "a")
        assert await bench.end(grant) == "ok"
    finally:
        bench.raw.config_set("maxmemory", 0)
    assert written(bench) == []


async def test_key_of_another_type_costs_its_own_pieces_only(bench: Bench) -> None:
    await bench.submit("a", "b")
    grants = {grant.job_id: grant for grant in await bench.claim()}
    bench.raw.set(keys.deltas("a"), "x", ex=10)
    bench.raw.hset("rq:job:a", "cq_streamed", grants["a"].token)
    appends = [Append(job_id, grants[job_id].token, 1, [b"[]"]) for job_id in "ab"]
    assert await append_deltas(bench.store, appends, retry_s=5) == [False, True]


# -- jobs whose worker died, and second lives -----------------------------------------------------


async def test_dead_workers_stream_is_broken(bench: Bench) -> None:
    """Even a first attempt is not made again: somebody may have seen a part of its answer."""
    await append(bench, await begin(bench), 1, "a")
    bench.expire_leases()
    assert (await bench.keeper().rescue()).failed == ["a"]
    (job,) = await bench.jobs.read(["a"])
    assert job is not None
    assert job.error is not None
    assert job.error.code == "stream_broken"
    assert await bench.claim() == []


async def test_dead_worker_without_pieces_is_replaced(bench: Bench) -> None:
    await begin(bench)
    bench.expire_leases()
    assert (await bench.keeper().rescue()).back == ["a"]


async def test_job_that_ended_and_is_put_back_streams_anew(bench: Bench) -> None:
    """RQ's requeue makes the same job run again; its old pieces are gone when it is claimed."""
    grant = await begin(bench)
    await append(bench, grant, 1, "a", "b")
    await bench.end(grant, "failed")
    bench.raw.hset("rq:job:a", "status", "queued")
    bench.raw.rpush("rq:queue:p.default", "a")
    (again,) = await bench.claim()
    assert written(bench) == []
    assert await append(bench, again, 1, "c")
    assert written(bench) == ["1-0"]
    await bench.end(again)


# -- following ------------------------------------------------------------------------------------


async def test_follower_is_told_everything_until_the_end(bench: Bench, reader: DeltaReader) -> None:
    grant = await begin(bench)
    await append(bench, grant, 1, "a")
    following = asyncio.create_task(everything(reader))
    await append(bench, grant, 2, "b")
    await append(bench, grant, 3, "c")
    await bench.end(grant)
    deltas = await following
    assert (texts(deltas), [delta.id for delta in deltas]) == ("abc", ["1", "2", "3"])


async def test_piece_comes_at_once(bench: Bench, reader: DeltaReader) -> None:
    """Long before the slow poll."""
    grant = await begin(bench)
    deltas = reader.follow("a")
    await append(bench, grant, 1, "a")
    await anext(deltas)
    nearly = asyncio.create_task(anext(deltas))  # type: ignore[arg-type]
    await wait_until(lambda: bool(bench.raw.hget("rq:job:a", "cq_notify")))
    await append(bench, grant, 2, "b")
    assert (await asyncio.wait_for(nearly, deltas_module.SLOW_POLL_S / 2)).id == "2"
    await deltas.aclose()
    assert not reader.is_followed("a")


@pytest.mark.parametrize(
    ("after", "rest"), [(None, "abc"), ("1", "bc"), ("3", ""), ("no id", "abc"), ("-1", "abc")]
)
async def test_following_goes_on_after_an_id(
    bench: Bench, reader: DeltaReader, after: str | None, rest: str
) -> None:
    grant = await begin(bench)
    await append(bench, grant, 1, "a", "b", "c")
    await bench.end(grant)
    assert texts(await everything(reader, after=after)) == rest


async def test_long_answer_is_read_page_by_page(bench: Bench, reader: DeltaReader) -> None:
    grant = await begin(bench)
    await append(bench, grant, 1, *"x" * (2 * PAGE))
    await bench.end(grant)
    assert len(await everything(reader)) == 2 * PAGE


@pytest.mark.parametrize("job_id", ["a", "nobody-knows-it"])
async def test_job_that_never_streamed_has_no_pieces(bench: Bench, reader: DeltaReader, job_id: str) -> None:
    """The following ends with the job, or at once when there is none."""
    grant = await begin(bench)
    following = asyncio.create_task(everything(reader, job_id))
    await wait_until(lambda: reader.is_followed(job_id) or following.done())
    await bench.end(grant)
    assert await following == []


async def test_lost_messages_only_delay(
    bench: Bench, reader: DeltaReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pub/sub may lose any message; what is there is found by the slow poll, the job's end too."""
    monkeypatch.setattr(deltas_module, "SLOW_POLL_S", 0.05)
    await begin(bench)
    deltas = reader.follow("a")
    bench.raw.xadd(keys.deltas("a"), {"d": orjson.dumps(choices("a"))}, id="1-0")
    assert (await anext(deltas)).id == "1"
    bench.raw.xadd(keys.deltas("a"), {"d": orjson.dumps(choices("b"))}, id="2-0")
    assert (await asyncio.wait_for(anext(deltas), 5)).id == "2"
    bench.raw.hset("rq:job:a", "status", "failed")
    bench.raw.expire("rq:job:a", 10)
    bench.raw.expire(keys.deltas("a"), 10)
    assert [delta async for delta in deltas] == []


async def test_foreign_entries_are_passed_over(bench: Bench, reader: DeltaReader) -> None:
    grant = await begin(bench)
    entries = [b"{", b"{}", b"[1]", b'[{"index":"0","delta":{}}]', orjson.dumps(choices("a"))]
    assert await append_deltas(bench.store, [Append("a", grant.token, 1, entries)], retry_s=5) == [True]
    await bench.end(grant)
    assert [delta.id for delta in await everything(reader)] == ["5"]


async def test_many_followers_share_round_trips(bench: Bench, reader: DeltaReader) -> None:
    """One subscription, and looks in groups."""
    grant = await begin(bench)
    looks = 0
    run = bench.store.run

    async def counted(name: str, *args: Any, **options: Any) -> Any:
        nonlocal looks
        looks += name == "follow_deltas"
        return await run(name, *args, **options)

    bench.store.run = counted  # type: ignore[assignment]
    following = [asyncio.create_task(everything(reader)) for _ in range(500)]
    await append(bench, grant, 1, "a")
    await bench.end(grant)
    assert {texts(deltas) for deltas in await asyncio.gather(*following)} == {"a"}
    assert looks < 250
    assert len(bench.raw.pubsub_channels("chatq:done:*")) == 2
