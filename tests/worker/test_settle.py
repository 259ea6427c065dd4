"""The settler's pace: company is waited for only right after a group that had some."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from shared.store.grants import Grant, GrantStore, Outcome
from worker import settle
from worker.settle import Settler

FLUSH_S = 0.5


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self._sleep = asyncio.sleep
        monkeypatch.setattr(settle.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(settle.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(pytest.approx(seconds))
        self.now += seconds
        await self._sleep(0)

    async def turn(self) -> None:
        """Let the settler do what it can."""
        for _ in range(10):
            await self._sleep(0)


class Store:
    """Takes every group."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []

    async def finalize(self, outcomes: Sequence[Outcome], *, retry_s: float) -> list[str]:
        self.groups.append([outcome.grant.job_id for outcome in outcomes])
        return ["ok"] * len(outcomes)


def outcome(job_id: str) -> Outcome:
    grant = Grant(job_id, "1-x", "p.default", b"", b"", 1, 3, None, None, 0.0, 0)
    return Outcome(grant, "completed", b"{}", b"", b"")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def settled(clock: Clock, *groups: Any, batch: int = 64) -> list[list[str]]:
    """The groups that reach the store when outcomes end so; a number is time that passes."""
    store = Store()
    settler = Settler(
        cast(GrantStore, store), flush_s=FLUSH_S, flush_batch=batch, on_settled=lambda grant, code: None
    )
    running = asyncio.create_task(settler.run())
    for group in groups:
        if isinstance(group, float):
            clock.now += group
            continue
        for job_id in group:
            settler.put(outcome(job_id))
        await clock.turn()
    running.cancel()
    return store.groups


async def test_first_group_goes_at_once(clock: Clock) -> None:
    assert await settled(clock, "abc") == [["a", "b", "c"]]
    assert clock.slept == []


async def test_next_group_gathers(clock: Clock) -> None:
    """Until `flush_s` after the one before, however much of that is over."""
    assert await settled(clock, "abc", 0.2, "d") == [["a", "b", "c"], ["d"]]
    assert clock.slept == [0.3]


async def test_quiet_worker_does_not_wait(clock: Clock) -> None:
    """Groups that come seldom have no company to wait for, whatever their size."""
    assert await settled(clock, "abc", 0.5, "def", 0.6, "ghi") == [list("abc"), list("def"), list("ghi")]
    assert clock.slept == []


async def test_lone_outcomes_do_not_wait(clock: Clock) -> None:
    assert await settled(clock, "a", "b", "cd", "e") == [["a"], ["b"], ["c", "d"], ["e"]]
    assert clock.slept == []


async def test_full_group_does_not_wait(clock: Clock) -> None:
    assert await settled(clock, "abc", "defg", batch=4) == [list("abc"), list("defg")]
    assert clock.slept == []
