"""A gauge that grows is seen, one that goes up and down is not taken for growing."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.chaos.vitals import Course, Leeway

LEEWAYS = {
    "RSS MB": Leeway(0.10, 4),
    "open files": Leeway(plus=60),
    "threads": Leeway(),
    "tasks": Leeway(plus=60),
}

STEADY = {"RSS MB": 70.0, "open files": 80.0, "threads": 6.0, "tasks": 50.0}


def course(change: Callable[[int], dict[str, float]]) -> Course:
    """Two hundred readings, each with a change to the steady ones."""
    return Course("worker", LEEWAYS, [STEADY | change(n) for n in range(200)])


def test_what_goes_up_and_down_is_flat() -> None:
    dice = random.Random(1)
    uneven = course(lambda n: {"tasks": dice.uniform(0, 100), "RSS MB": 70 + dice.uniform(-2, 2)})
    assert list(uneven.broken()) == []


@pytest.mark.parametrize(
    ("gauge", "by_reading"), [("RSS MB", 0.1), ("open files", 0.5), ("threads", 0.02), ("tasks", 0.5)]
)
def test_what_grows_is_broken(gauge: str, by_reading: float) -> None:
    growing = course(lambda n: {gauge: STEADY[gauge] + n * by_reading})
    assert [gauge in line for line in growing.broken()] == [True]


def test_too_few_readings_prove_nothing() -> None:
    assert list(Course("worker", LEEWAYS, [STEADY] * 3).broken()) == ["worker: only 3 readings"]
