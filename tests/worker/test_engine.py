"""The engine and the claim that it leaves standing: every grant runs once, however the worker hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import redis

from shared.store.grants import Claimed, GrantStore, Outcome, Settlement, read_handed
from shared.store.limits import EPOCH_S
from shared.store.signals import Signals
from tests.shared.store.conftest import Bench, open_bench
from tests.support import RedisServer, wait_until
from worker.attempt import Slot
from worker.engine import Engine

LONG_S = 60.0
"""No test waits for a look that comes of itself."""


class Answers:
    """Attempts that end well, at once or when they are let."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def run(self, slot: Slot) -> Settlement:
        self.made.append(slot.grant.job_id)
        await self.may_end.wait()
        return Outcome(slot.grant, "completed", b'{"a":1}', b"", b"")


class Told:
    """What a worker is told passes through here."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.messages: list[bytes] = []
        self.is_deaf = False

    def __call__(self, channel: str, data: bytes) -> None:
        if channel == "chatq:wake":
            self.engine.wake()
            return
        self.messages.append(data)
        if not self.is_deaf:
            self.engine.handed(*read_handed(data))

    async def miss_hand_over(self, bench: Bench) -> None:
        """A job is handed over, and the worker does not hear of it."""
        self.is_deaf = True
        await bench.submit("a")
        await wait_until(lambda: bool(self.messages))


@pytest.fixture
async def bench(redis_url: str, redis_server: RedisServer) -> AsyncIterator[Bench]:
    async with open_bench(redis_server) as opened:
        yield opened


def engine_of(bench: Bench, attempts: Any, *, store: GrantStore | None = None) -> Engine:
    return Engine(
        store or bench.worker(),
        attempts,
        providers=["p"],
        concurrency=8,
        claim_batch=4,
        poll_s=LONG_S,
        flush_s=0,
        flush_batch=8,
        on_delay=lambda _: None,
    )


@asynccontextmanager
async def working(bench: Bench, engine: Engine) -> AsyncIterator[Told]:
    """An engine at work, whose claim stands."""
    told = Told(engine)
    signals = Signals(bench.store, ["chatq:wake", "chatq:grants:w1"], on_message=told, on_gap=engine.wake)
    await signals.start()
    run = asyncio.create_task(engine.run())
    await wait_until(lambda: is_standing(bench.raw))
    try:
        yield told
    finally:
        engine.drain()
        await run
        await signals.stop()


def is_standing(raw: redis.Redis) -> bool:
    return raw.exists("chatq:standing:w1") == 1


async def test_handed_job_runs_and_the_next_claim_stands(bench: Bench) -> None:
    """One after the other, without a claim on the way of any of them."""
    attempts = Answers()
    async with working(bench, engine_of(bench, attempts)) as told:
        for n in range(3):
            await bench.submit(f"j{n}")
            await wait_until(lambda n=n: bench.status(f"j{n}") == "finished")
            await wait_until(lambda: is_standing(bench.raw))
    assert attempts.made == ["j0", "j1", "j2"]
    assert len(told.messages) == 3


async def test_same_message_twice_runs_once(bench: Bench) -> None:
    attempts = Answers()
    async with working(bench, engine := engine_of(bench, attempts)) as told:
        attempts.may_end.clear()
        await bench.submit("a")
        await wait_until(lambda: bool(attempts.made))
        engine.handed(*read_handed(told.messages[0]))
        assert engine.in_flight == 1
        attempts.may_end.set()
        await wait_until(lambda: bench.status("a") == "finished")
        engine.handed(*read_handed(told.messages[0]))
        assert engine.in_flight == 0
    assert attempts.made == ["a"]


async def test_lost_message_costs_a_look(bench: Bench) -> None:
    """The next claim, whatever it is made for, brings what nobody told; the message comes too late then."""
    attempts = Answers()
    async with working(bench, engine := engine_of(bench, attempts)) as told:
        await told.miss_hand_over(bench)
        assert attempts.made == []
        engine.wake()
        await wait_until(lambda: bench.status("a") == "finished")
        engine.handed(*read_handed(told.messages[0]))
        assert engine.in_flight == 0
    assert attempts.made == ["a"]


class SlowClaims:
    """A store that can hold up a claim, before Redis has it or after."""

    def __init__(self, store: GrantStore, *, held_after: bool) -> None:
        self._store = store
        self._held_after = held_after
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.is_held = False
        self.replies: list[Claimed] = []

    async def claim(self, **call: Any) -> Claimed:
        if not self._held_after:
            await self._hold()
        claimed = await self._store.claim(**call)
        if self._held_after:
            await self._hold()
        self.replies.append(claimed)
        return claimed

    async def _hold(self) -> None:
        self.is_held = not self.may_go_on.is_set()
        await self.may_go_on.wait()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("held_after", [False, True])
async def test_message_overtakes_a_claim(bench: Bench, held_after: bool) -> None:
    """A claim is sent again while it is made by somebody else: whatever Redis replies, the job runs once."""
    attempts = Answers()
    store = SlowClaims(bench.worker(), held_after=held_after)
    async with working(bench, engine := engine_of(bench, attempts, store=store)) as told:  # type: ignore[arg-type]
        attempts.may_end.clear()
        store.may_go_on.clear()
        looks = len(store.replies)
        engine.wake()
        await wait_until(lambda: store.is_held)
        await bench.submit("a")
        await wait_until(lambda: attempts.made == ["a"])
        assert len(told.messages) == 1
        store.may_go_on.set()
        await wait_until(lambda: len(store.replies) > looks)
        assert [grant.job_id for grant in store.replies[looks].grants] == ([] if held_after else ["a"])
        assert engine.in_flight == 1
        attempts.may_end.set()
        await wait_until(lambda: bench.status("a") == "finished")
    assert attempts.made == ["a"]


async def test_hand_over_to_a_closed_provider_is_looked_at_again(bench: Bench) -> None:
    """The job runs when the provider takes calls again, not at the next slow look."""
    attempts = Answers()
    async with working(bench, engine_of(bench, attempts)) as told:
        seconds, microseconds = bench.raw.time()
        until_ms = (seconds + microseconds / 1e6 - EPOCH_S + 0.2) * 1000
        bench.raw.set("chatq:scope:account:p", orjson.dumps({"closed_until": until_ms}), ex=60)
        await bench.submit("a")
        await wait_until(lambda: bool(told.messages))
        assert (read_handed(told.messages[0])[1] or Claimed([])).grants == []
        await wait_until(lambda: bench.status("a") == "finished")


@pytest.mark.parametrize("message", [b"", b"other 1 0 -1\n", b"other"])
async def test_word_of_strangers_is_ignored(bench: Bench, message: bytes) -> None:
    async with working(bench, engine := engine_of(bench, Answers())):
        engine.handed(*read_handed(message))
        assert engine.in_flight == 0


async def test_grant_of_a_stranger_provider_is_not_believed(bench: Bench) -> None:
    """Redis is asked instead."""
    attempts = Answers()
    async with working(bench, engine := engine_of(bench, attempts)) as told:
        await told.miss_hand_over(bench)
        engine.handed(*read_handed(told.messages[0].replace(b"p.default", b"q.default")))
        await wait_until(lambda: bench.status("a") == "finished")
    assert attempts.made == ["a"]


async def test_drained_engine_leaves_nothing_standing(bench: Bench) -> None:
    """What it was handed in the last moment runs; what comes later stays in the queue."""
    attempts = Answers()
    async with working(bench, engine := engine_of(bench, attempts)) as told:
        await told.miss_hand_over(bench)
        engine.drain()
        await wait_until(lambda: attempts.made == ["a"])
    assert bench.status("a") == "finished"
    assert not is_standing(bench.raw)
    await bench.submit("b")
    assert bench.status("b") == "queued"


async def test_burst_leaves_nothing_standing(bench: Bench) -> None:
    engine = engine_of(bench, Answers())

    async def is_finished() -> bool:
        return is_standing(bench.raw)

    await engine.run(is_finished=is_finished)
    assert not is_standing(bench.raw)
