"""Costs off the events, and their sums a day."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest

from shared.call_costs import OTHERS, CostSums, Whose
from shared.store import costs, keys
from shared.store.costs import ClientSpend, CostDays, CostLog, day_of

from .conftest import Bench

FOREVER = date(2020, 1, 1), date(2020, 1, 3)


def call(**fields: Any) -> dict[str, bytes]:
    event = {
        "type": "attempt",
        "job": "j",
        "provider": "p",
        "model": "m",
        "client": "c",
        "maybe_billed": True,
    }
    return {"attempt": orjson.dumps({**event, **fields})}


def add(bench: Bench, *calls: dict[str, bytes], entry_id: str = "*") -> None:
    for fields in calls:
        bench.raw.xadd(keys.EVENTS, fields, id=entry_id)  # type: ignore[arg-type]


def today(bench: Bench) -> date:
    return datetime.fromtimestamp(bench.raw.time()[0], UTC).date()


async def read(bench: Bench) -> CostDays:
    day = today(bench)
    return await CostLog(bench.store).read(day - timedelta(days=1), day)


def rows(found: CostDays) -> dict[Whose, CostSums]:
    return {row: sums for of_day in found.rows.values() for row, sums in of_day.items()}


def total(sums: Iterable[CostSums]) -> CostSums:
    together = CostSums()
    for one in sums:
        together.add(one)
    return together


async def test_sums_are_exact(bench: Bench) -> None:
    """Ten times 0.1 is 1, also through Redis and back."""
    for _ in range(2):
        add(bench, *[call(cost_usd=0.1, input_total=7, input_cached=2, output_total=3)] * 5)
        assert await CostLog(bench.store).fold() == 5
    (sums,) = rows(await read(bench)).values()
    assert sums == CostSums(10, 70, 20, 30, Decimal(1), sums.bases)
    assert sums.bases == {"reported": 10}


async def test_reading_adds_what_is_not_folded(bench: Bench) -> None:
    """Each call once, before and after."""
    add(bench, call(cost_usd=1))
    await CostLog(bench.store).fold()
    add(bench, call(cost_usd=2))
    for _ in range(2):
        assert total(rows(await read(bench)).values()).cost_usd == 3
        await CostLog(bench.store).fold()


async def test_calls_are_kept_apart(bench: Bench) -> None:
    """By provider, model, client, source and batch; a dead worker's call has its queue only."""
    add(bench, call(), call(source="s"), call(batch="b"), call(model="n"))
    bench.raw.xadd(keys.EVENTS, {"attempt": '{"type":"attempt","job":"j","queue":"q.batch"}'})
    bench.raw.xadd(keys.EVENTS, {"outcome": '{"type":"outcome","job":"j"}'})
    assert set(rows(await read(bench))) == {
        Whose("p", "m", "c"), Whose("p", "m", "c", "s"), Whose("p", "m", "c", "", "b"), Whose("p", "n", "c"),
        Whose("q"),
    }  # fmt: skip


async def test_long_stream_is_folded_by_pages(bench: Bench) -> None:
    with bench.raw.pipeline() as pipe:
        for _ in range(2500):
            pipe.xadd(keys.EVENTS, call(cost_usd=0.001))  # type: ignore[arg-type]
        pipe.execute()
    assert await CostLog(bench.store).fold() == 2500
    assert total(rows(await read(bench)).values()).cost_usd == Decimal("2.5")


async def test_many_may_fold_at_once(bench: Bench) -> None:
    """The sums are those of one."""
    add(bench, *[call(cost_usd=0.5)] * 200)
    folded = await asyncio.gather(*(CostLog(bench.store).fold() for _ in range(8)))
    assert sum(folded) == 200
    bench.raw.xtrim(keys.EVENTS, maxlen=0, approximate=False)
    assert total(rows(await read(bench)).values()).cost_usd == 100


async def test_sums_outlive_the_stream(bench: Bench) -> None:
    """And say when entries may have been missed."""
    add(bench, call(cost_usd=1))
    await CostLog(bench.store).fold()
    bench.raw.xtrim(keys.EVENTS, maxlen=0, approximate=False)
    assert (await read(bench)).gaps == 0
    add(bench, call(cost_usd=1))
    await CostLog(bench.store).fold()
    found = await read(bench)
    assert (total(rows(found).values()).cost_usd, found.gaps) == (2, 1)


async def test_calls_belong_to_their_utc_day(bench: Bench) -> None:
    """By Redis's clock; a time that cannot be is no day's."""
    midnight = int(datetime(2020, 1, 2, tzinfo=UTC).timestamp() * 1000)
    add(bench, call(cost_usd=1), entry_id=f"{midnight - 1}-1")
    add(bench, call(cost_usd=2), entry_id=f"{midnight}-1")
    add(bench, call(cost_usd=4), entry_id="18446744073709551615-1")
    found = await CostLog(bench.store).read(*FOREVER)
    by_day = {day.isoformat(): total(of_day.values()).cost_usd for day, of_day in found.rows.items()}
    assert by_day == {"2020-01-01": 1, "2020-01-02": 2}
    assert day_of(1.8446744073709552e16) is None


async def test_rows_of_a_day_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past a number they are counted together; those that have a row keep it."""
    monkeypatch.setattr(costs, "MAX_ROWS", 3)
    for _ in range(2):
        add(bench, *(call(model=str(n), cost_usd=1) for n in range(6)))
        await CostLog(bench.store).fold()
    found = rows(await read(bench))
    assert found[OTHERS].cost_usd == 6
    assert {row.model for row in found} == {"0", "1", "2", OTHERS.model}
    assert total(found.values()).cost_usd == 12


async def test_broken_sums_cost_themselves_only(bench: Bench) -> None:
    """Anybody can write to Redis."""
    key = keys.costs(today(bench).isoformat())
    add(bench, call(cost_usd=1))
    await CostLog(bench.store).fold()
    odd = {
        "[1]": "{}",
        "oops": "{}",
        '["a","b","c","d","e"]': '{"calls":-1,"usd":"NaN","bases":[]}',
        "gaps": "x",
    }
    bench.raw.hset(key, mapping=odd)
    bench.raw.set(keys.COST_CURSOR, "garbage", ex=60)
    bench.raw.xtrim(keys.EVENTS, maxlen=0, approximate=False)
    found = await read(bench)
    assert (total(rows(found).values()).cost_usd, found.gaps) == (1, 0)


async def test_spend_of_a_client_follows_the_stream(bench: Bench) -> None:
    """From the sums of the day, then from each event; other clients' calls are theirs."""
    add(bench, call(cost_usd=0.5), call(cost_usd=9, client="d"))
    await CostLog(bench.store).fold()
    add(bench, call(cost_usd=0.25))
    spend = ClientSpend(bench.store, "c")
    assert await spend.refresh() == Decimal("0.75")
    add(bench, call(cost_usd=0.125), call(cost_usd=9, client="d"), call())
    await CostLog(bench.store).fold()
    assert [await spend.refresh() for _ in range(2)] == [Decimal("0.875")] * 2
