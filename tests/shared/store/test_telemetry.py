"""Reading the stream of events and the counters of minutes."""

from __future__ import annotations

import time
from typing import Any

import orjson

from shared.store.telemetry import MAX_EVENT_BYTES, PAGE, Event, EventLog, Page, read_counters, read_now

from .conftest import Bench


def add(bench: Bench, **fields: Any) -> str:
    """An entry; dicts are events, all else stands as it is."""
    entry_id: str = bench.raw.xadd(
        "chatq:events",
        {
            kind: orjson.dumps({"type": kind, "job": "j", **value}) if isinstance(value, dict) else value
            for kind, value in fields.items()
        },
    )
    return entry_id


async def pages(bench: Bench, **bounds: Any) -> list[Page]:
    return [page async for page in EventLog(bench.store).newest_first(**{"most": 10_000, **bounds})]


def seen(found: list[Page]) -> list[Event]:
    return [event for page in found for event in page.events]


async def test_events_come_newest_first(bench: Bench) -> None:
    """Of an entry with a call and the outcome it brought, the outcome is the newer one."""
    add(bench, attempt={"n": 1}, outcome={"n": 2})
    add(bench, attempt={"n": 3})
    events = seen(await pages(bench))
    assert [(event.kind, event.fields["n"]) for event in events] == [
        ("attempt", 3),
        ("outcome", 2),
        ("attempt", 1),
    ]
    assert abs(events[0].at - time.time()) < 60


async def test_long_stream_comes_in_pages(bench: Bench) -> None:
    """Every entry once, and no more than asked for."""
    with bench.raw.pipeline() as pipe:
        for n in range(2 * PAGE + 1):
            pipe.xadd("chatq:events", {"attempt": orjson.dumps({"type": "attempt", "job": str(n)})})
        pipe.execute()
    found = await pages(bench)
    assert [page.entries for page in found] == [PAGE, PAGE, 1]
    assert [event.fields["job"] for event in seen(found)] == [str(n) for n in reversed(range(2 * PAGE + 1))]
    assert [page.entries for page in await pages(bench, most=PAGE + 1)] == [PAGE, 1]


async def test_older_entries_are_left_out(bench: Bench) -> None:
    """By the time at which Redis took them."""
    bench.raw.xadd("chatq:events", {"attempt": '{"type":"attempt","job":"old"}'}, id="1000-0")
    add(bench, attempt={"job": "new"})
    assert [event.fields["job"] for event in seen(await pages(bench, since=time.time() - 60))] == ["new"]


async def test_broken_events_are_counted(bench: Bench) -> None:
    """Each costs itself only, also when its neighbour in the entry is whole."""
    add(bench, attempt="not JSON", outcome={})
    add(bench, attempt="[1]")
    add(bench, attempt='{"type": "outcome", "job": "j"}')
    add(bench, attempt='{"type": "attempt", "job": 7}')
    add(bench, attempt={"x": "y" * MAX_EVENT_BYTES})
    add(bench, nonsense="x")
    (page,) = await pages(bench)
    assert ([event.kind for event in page.events], page.broken, page.entries) == (["outcome"], 6, 6)


async def test_follower_sees_what_came_after(bench: Bench) -> None:
    """Oldest first, each once."""
    last = add(bench, attempt={"n": 1})
    log = EventLog(bench.store)
    assert [page async for page in log.after(last)] == []
    add(bench, attempt={"n": 2}, outcome={"n": 3})
    (page,) = [page async for page in log.after(last)]
    assert [event.fields["n"] for event in page.events] == [2, 3]


async def test_counters_are_added_up_over_minutes(bench: Bench) -> None:
    """Those of other minutes, other names and other types stay out."""
    now = int(await read_now(bench.store) / 60)
    bench.raw.hset(
        f"chatq:minute:{now}", mapping={"ended p.default completed": 2, "limited p": 1, "moved a b": 3}
    )
    bench.raw.hset(
        f"chatq:minute:{now - 1}", mapping={"ended q.batch completed": 5, "waits p backoff": 4, "odd": 1}
    )
    bench.raw.hset(f"chatq:minute:{now - 2}", mapping={"abandoned p": 6, "limited p": "much"})
    bench.raw.set(f"chatq:minute:{now - 3}", "no hash")
    bench.raw.hset(f"chatq:minute:{now - 9}", mapping={"limited p": 100})
    found = await read_counters(bench.store, minutes=4)
    for ago in (0, 1, 2, 3, 9):
        bench.raw.delete(f"chatq:minute:{now - ago}")
    assert (found.ended, found.limited, found.abandoned) == ({"completed": 7}, {"p": 1}, {"p": 6})
    assert (found.waits, found.moved) == ({("p", "backoff"): 4}, {("a", "b"): 3})


async def test_scripts_count_what_is_read(bench: Bench) -> None:
    """A job that ends is in the counters of its minute."""
    await bench.submit("a")
    await bench.end((await bench.claim())[0])
    found = await read_counters(bench.store, minutes=1)
    assert found.ended == {"completed": 1}


async def test_outcome_takes_from_its_call_what_it_does_not_say(bench: Bench) -> None:
    """Only what both have, and only of the same job; without a readable call it stands alone."""
    call = {"provider": "p", "client": "c", "cost_usd": 0.5, "duration_s": 1.0, "token": "t"}
    add(bench, attempt=call, outcome={"state": "completed", "client": "own"})
    add(bench, attempt=call, outcome={"job": "other"})
    add(bench, attempt=b"{", outcome={"state": "failed"})
    outcomes = [event.fields for event in seen(await pages(bench)) if event.kind == "outcome"]
    assert outcomes[::-1] == [
        {
            "type": "outcome",
            "job": "j",
            "state": "completed",
            "client": "own",
            "provider": "p",
            "cost_usd": 0.5,
        },
        {"type": "outcome", "job": "other"},
        {"type": "outcome", "job": "j", "state": "failed"},
    ]
