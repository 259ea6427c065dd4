"""Limits as they stand: what is known, in force, learned, used, closed; changing and opening them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from shared.job import WaitReason
from shared.store.limits import EPOCH_S, LimitStore, ScopeView
from tests.shared.store.conftest import Bench


@pytest.fixture
def limits(bench: Bench) -> LimitStore:
    bench.raw.hset("chatq:accounts", "p", "p")
    return LimitStore(bench.store)


def set_state(bench: Bench, scope: str, **fields: Any) -> None:
    bench.raw.set(f"chatq:scope:{scope}", json.dumps(fields), ex=60)


def ms_from_now(seconds: float) -> float:
    return (time.time() + seconds - EPOCH_S) * 1000


async def view_of(limits: LimitStore, scope: str) -> ScopeView:
    (view,) = await limits.read([scope])
    return view


async def test_limits_set_go_over_the_files(bench: Bench, limits: LimitStore) -> None:
    """Both are shown; 0 is no limit."""
    config = {"file": {"rpm": 60, "tpm": 1000}, "set": {"tpm": 0, "concurrency": 5}}
    bench.raw.hset("chatq:limits", "account:p", json.dumps(config))
    view = await view_of(limits, "account:p")
    assert (view.file, view.set) == (config["file"], config["set"])
    assert view.in_force == {"rpm": pytest.approx(60), "concurrency": 5}
    assert (view.name, view.hold, view.is_closed) == ("p", None, False)


async def test_learned_limits_are_in_force(bench: Bench, limits: LimitStore) -> None:
    """A stated limit that is lower, and a rate that was cut."""
    bench.raw.hset("chatq:limits", "account:p", json.dumps({"file": {"rpm": 600}}))
    set_state(bench, "account:p", stated_rpm=200, factor=0.5)
    view = await view_of(limits, "account:p")
    assert view.in_force["rpm"] == pytest.approx(100)
    assert view.learned == {"stated_rpm": 200, "factor": 0.5}


async def test_account_without_limits_finds_out_by_itself(bench: Bench, limits: LimitStore) -> None:
    """Concurrency adapts, from 20 on."""
    bench.raw.hdel("chatq:limits", "account:p")
    assert (await view_of(limits, "account:p")).in_force == {"concurrency": 20}


async def test_use_is_a_share_of_the_burst(bench: Bench, limits: LimitStore) -> None:
    """One of a slice in which one and a fraction fits."""
    bench.raw.hset("chatq:limits", "account:p", json.dumps({"set": {"rpm": 120, "concurrency": 9}}))
    await bench.submit("a")
    await bench.claim()
    view = await view_of(limits, "account:p")
    assert view.in_flight == 1
    assert 0.5 < view.used["rpm"] <= 1.01
    assert view.hold is not None
    assert (view.hold.reason, view.hold.dimension) == (WaitReason.RATE_LIMITED, "rpm")


async def test_breaker_on_trial_is_no_hold(bench: Bench, limits: LimitStore) -> None:
    """Until all of its probes are out."""
    set_state(bench, "model:p/m", breaker="half", opened_why="failures")
    view = await view_of(limits, "model:p/m")
    assert (view.breaker, view.opened_why, view.hold, view.is_closed) == ("half", "failures", None, True)
    bench.raw.sadd("chatq:slots:probe:model:p/m", "a:1", "b:1", "c:1")
    bench.raw.expire("chatq:slots:probe:model:p/m", 60)
    hold = (await view_of(limits, "model:p/m")).hold
    assert hold is not None
    assert (hold.reason, hold.dimension, hold.limit) == (WaitReason.BREAKER, "probes", 3)


async def test_all_known_scopes_are_found(bench: Bench, limits: LimitStore) -> None:
    """By limits, by account, by slots, by jobs that are held back."""
    bench.raw.hset("chatq:limits", "client:alice", json.dumps({"file": {"weight": 3}}))
    bench.raw.sadd("chatq:slotted", "model:p/busy")
    await bench.submit("a", model="shut")
    set_state(bench, "model:p/shut", closed_until=ms_from_now(60))
    await bench.claim()
    found = set(await limits.known())
    assert {"account:p", "provider:p", "client:alice", "model:p/busy", "model:p/shut"} <= found
    assert "policy" not in found


@pytest.mark.parametrize("raw", ["{", "[]", "7", '{"set":7,"file":[]}'])
async def test_broken_scope_is_shown_bare(bench: Bench, limits: LimitStore, raw: str) -> None:
    """As an account that nothing is known of; its neighbour as ever."""
    bench.raw.hset("chatq:limits", "account:odd", raw)
    bench.raw.zadd("chatq:scope:account:odd", {"x": 1})
    bench.raw.expire("chatq:scope:account:odd", 60)
    odd, good = await limits.read(["account:odd", "account:p"])
    assert (odd.name, odd.in_force, odd.hold) == ("odd", {"concurrency": 20}, None)
    assert good.in_force == {"concurrency": 100000}


async def test_opening_ends_closures_and_keeps_what_was_learned(bench: Bench, limits: LimitStore) -> None:
    """Says which were closed; a second time there is nothing."""
    set_state(bench, "account:p", closed_until=ms_from_now(60), strikes=3, stated_rpm=50)
    set_state(
        bench, "model:p/m", breaker="open", opened_why="credentials", open_until=ms_from_now(60), opens=2
    )
    scopes = ["account:p", "model:p/m", "model:p/other"]
    assert await limits.open(scopes) == ["account:p", "model:p/m"]
    assert await limits.open(scopes) == []
    account, model, _ = await limits.read(scopes)
    assert (account.is_closed, model.is_closed, account.learned) == (False, False, {"stated_rpm": 50})


async def test_opening_lets_held_jobs_go(bench: Bench, limits: LimitStore) -> None:
    """At once: the lot is ready, and a sleeping worker is told."""
    set_state(bench, "model:p/m", breaker="open", opened_why="credentials", open_until=ms_from_now(60))
    await bench.submit("a")
    assert await bench.claim() == []
    with bench.raw.pubsub() as pubsub:
        pubsub.subscribe("chatq:wake")
        pubsub.get_message(timeout=5)
        await limits.open(["model:p/m"])
        message = await asyncio.to_thread(pubsub.get_message, timeout=5)
    assert message is not None
    assert str(message["data"]).startswith("p.")
    assert [grant.job_id for grant in await bench.claim()] == ["a"]
