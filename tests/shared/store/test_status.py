"""The state of everything: what waits anywhere is counted, what holds it back is told, and broken data is borne."""

from __future__ import annotations

import json
import time

import pytest

from shared.job import WaitReason
from shared.store.limits import EPOCH_S
from shared.store.status import ProviderView, QueueView, read_status
from tests.shared.store.conftest import Bench


async def queue_of(bench: Bench, name: str = "p.default") -> QueueView:
    return next(queue for queue in (await read_status(bench.store)).queues if queue.name == name)


async def provider_of(bench: Bench, name: str = "p") -> ProviderView:
    return next(one for one in (await read_status(bench.store)).providers if one.name == name)


def close(bench: Bench, scope: str, **fields: object) -> None:
    until = (time.time() + 60 - EPOCH_S) * 1000
    state = {"closed_until": until} if not fields else {"open_until": until, **fields}
    bench.raw.set(f"chatq:scope:{scope}", json.dumps(state), ex=60)


async def test_jobs_set_aside_are_waiting(bench: Bench) -> None:
    """Two clients: the claim sorts them into lots."""
    await bench.submit("a0", "a1", "a2", client="alice")
    await bench.submit("b0", "b1", client="bob")
    await bench.claim(want=1)
    queue = await queue_of(bench)
    assert (queue.waiting, queue.set_aside, queue.in_flight) == (4, 4, 1)
    assert queue.oldest_age_s is not None


async def test_pace_and_eta_come_from_what_ended(bench: Bench) -> None:
    """Of the last minutes; an idle queue has none."""
    await bench.submit("a", "b")
    assert (await queue_of(bench)).eta_s is None
    minute = int(time.time() // 60)
    for number in (minute, minute - 1):
        bench.raw.hset(f"chatq:minute:{number}", "ended p.default completed", 60)
        bench.raw.expire(f"chatq:minute:{number}", 60)
    queue = await queue_of(bench)
    assert queue.drained_per_s is not None
    assert queue.eta_s == pytest.approx(2 / queue.drained_per_s)


async def test_closed_account_is_told(bench: Bench) -> None:
    """With its reason and its end."""
    await bench.submit("a")
    close(bench, "account:p", breaker="open", opened_why="credentials")
    (hold,) = (await provider_of(bench)).holds
    assert (hold.scope, hold.reason) == ("p", WaitReason.CREDENTIALS)
    assert hold.until == pytest.approx(time.time() + 60, abs=2)


async def test_used_up_limit_is_told_with_its_number(bench: Bench) -> None:
    """60 a minute."""
    bench.raw.hset("chatq:limits", "account:p", json.dumps({"set": {"rpm": 60}}))
    await bench.submit("a", "b")
    await bench.claim()
    (hold,) = (await provider_of(bench)).holds
    assert (hold.dimension, hold.limit) == ("rpm", pytest.approx(60))


async def test_held_back_model_is_told(bench: Bench) -> None:
    """Once a claim met it; the account itself is open."""
    await bench.submit("a")
    close(bench, "model:p/m")
    await bench.claim()
    (hold,) = (await provider_of(bench)).holds
    assert (hold.scope, hold.reason) == ("p/m", WaitReason.COOLDOWN)


async def test_quarantine_is_counted(bench: Bench) -> None:
    """A job whose worker died twice."""
    await bench.submit("a")
    for _ in range(2):
        await bench.claim()
        bench.expire_leases()
        await bench.keeper().rescue()
    assert (await provider_of(bench)).quarantine == 1


async def test_broken_data_is_left_out(bench: Bench) -> None:
    """Strange totals, keys of another type, names that are no text: the rest is shown."""
    await bench.submit("a", "b", queue="p.batch")
    bench.raw.hset("chatq:totals", mapping={"odd": "x", b"\xff": 1})  # type: ignore[dict-item]  # bytes are fine
    bench.raw.sadd("rq:queues", b"rq:queue:\xff", "rq:queue:p.default")
    for key in ("rq:queue:p.default", "rq:wip:p.default", "chatq:later:p.default", "chatq:aside:p.batch"):
        bench.raw.set(key, "x", ex=60)
    status = await read_status(bench.store)
    bench.raw.delete("rq:queue:p.default", "rq:wip:p.default", "chatq:later:p.default", "chatq:aside:p.batch")
    assert {queue.name: queue.waiting for queue in status.queues} == {"p.batch": 2, "p.default": 0, "�": 0}
    assert status.totals["accepted"] == 2
    assert "odd" not in status.totals
