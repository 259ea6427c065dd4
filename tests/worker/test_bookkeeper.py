"""The bookkeeper: what calls cost is in the sums of the day soon after, and an outage only delays it."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import orjson
import pytest
import redis

from shared.background import end_tasks
from shared.call_costs import read_sums
from shared.store.connect import Store
from tests.support import RedisServer, wait_until
from worker import bookkeeper
from worker.bookkeeper import Bookkeeper


@pytest.fixture
def raw(redis_server: RedisServer) -> redis.Redis:
    return redis_server.client()


async def test_costs_are_added_up(store: Store, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anybody asking, and again after what came later."""
    monkeypatch.setattr(bookkeeper, "INTERVAL_S", 0.01)
    seconds, _ = raw.time()
    call = {"type": "attempt", "job": "a", "provider": "p", "model": "m", "at": seconds, "cost_usd": 0.5}
    raw.xadd("chatq:events", {"attempt": orjson.dumps(call)})
    folding = asyncio.create_task(Bookkeeper(store).run())
    try:
        await wait_until(lambda: len(raw.keys("chatq:costs:2*")) == 1)
        raw.xadd("chatq:events", {"attempt": orjson.dumps(call | {"model": "n"})})
        (day,) = raw.keys("chatq:costs:2*")
        await wait_until(lambda: raw.hlen(day) == 2)
        assert [read_sums(sums.encode()).cost_usd for sums in raw.hvals(day)] == [Decimal("0.5")] * 2
    finally:
        await end_tasks(folding)
        raw.delete("chatq:events")
