"""How many jobs a worker holds while it has fewer sockets than slots."""

from __future__ import annotations

import logging

import pytest

from worker.capacity import CALM_S, GROW_S, HOLD_S, KEPT, OWN_FILES, Capacity, affordable

WHY = "no socket: Too many open files"


def cut(capacity: Capacity, running: int, at_s: float) -> None:
    capacity.cut(running, at_s, why=WHY)


def test_all_slots_while_nothing_is_short() -> None:
    capacity = Capacity(300)
    assert (capacity.slots(0.0), capacity.is_whole) == (300, True)


def test_shortage_leaves_a_little_less_than_what_runs() -> None:
    """What runs has its sockets; the rest of them is for the worker itself."""
    capacity = Capacity(300)
    cut(capacity, 100, at_s=5.0)
    assert (capacity.slots(5.0), capacity.is_whole) == (100 * KEPT, False)


def test_calls_that_fail_together_are_one_shortage() -> None:
    """Those that had only just begun are not counted as running for long; the hold stays the first."""
    capacity = Capacity(300)
    for running in (60, 50, 40):
        cut(capacity, running, at_s=5.0)
    assert capacity.slots(5.0 + HOLD_S[0] - 0.01) == 36
    assert capacity.slots(5.0 + HOLD_S[0]) > 36


def test_nothing_is_claimed_for_a_while_when_nothing_runs() -> None:
    """Others have used up everything: one try after each hold."""
    capacity = Capacity(300)
    cut(capacity, 0, at_s=0.0)
    assert capacity.slots(HOLD_S[0] - 0.01) == 0
    assert capacity.slots(HOLD_S[0]) == 1


def test_slots_come_back_step_by_step() -> None:
    """Half as much again a step, however often it is asked, up to all of them."""
    capacity = Capacity(60)
    cut(capacity, 20, at_s=0.0)
    times = [HOLD_S[0] + GROW_S * step / 2 for step in range(8)]
    assert [capacity.slots(at) for at in times] == [28, 28, 43, 43, 60, 60, 60, 60]
    assert capacity.is_whole


def test_hold_doubles_while_the_shortage_comes_back() -> None:
    """The limit is tried ever more seldom, down to twice a minute."""
    capacity, now_s, holds = Capacity(300), 0.0, []
    for _ in range(8):
        cut(capacity, 40, now_s)
        began_s = now_s
        while capacity.slots(now_s) <= 36:
            now_s += 0.5
        holds.append(now_s - began_s)
    assert holds == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize("slots", [1, 2, 300])
def test_one_warning_while_the_shortage_comes_back(slots: int, caplog: pytest.LogCaptureFixture) -> None:
    """Also where few slots are soon back; after a calm time the next shortage is news."""
    capacity = Capacity(slots)
    caplog.set_level(logging.WARNING)
    for at_s in (0.0, 0.1, 3.0, 20.0, 60.0):
        capacity.slots(at_s)
        cut(capacity, 0, at_s)
    assert [record.message for record in caplog.records] == [
        f"fewer than {slots} jobs at a time for now: {WHY}"
    ]
    cut(capacity, 0, 60.0 + HOLD_S[1] + CALM_S)
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("files", "slots"), [(None, 500), (100_000, 500), (500, 500 - OWN_FILES), (OWN_FILES, 1), (8, 1)]
)
def test_slots_fit_the_files_that_may_be_open(files: int | None, slots: int) -> None:
    """A call is a file; the worker needs some of its own, and holds one job at least."""
    assert affordable(500, files=files) == slots
