"""Backoff: a doubling ceiling, and full jitter under it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.backoff import backoff_s, ceiling_s


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (10_000, 30.0), (0, 0.5)]
)
def test_ceiling_doubles_up_to_the_maximum(attempt: int, ceiling: float) -> None:
    """The ceiling starts at the base, doubles, and stays at the maximum for ever."""
    assert ceiling_s(attempt, base_s=0.5, max_s=30.0) == ceiling


@given(attempt=st.integers(1, 100), seed=st.integers())
def test_jitter_stays_under_the_ceiling(attempt: int, seed: int) -> None:
    """No delay is negative or over the ceiling."""
    delay = backoff_s(attempt, base_s=0.5, max_s=30.0, rng=random.Random(seed))
    assert 0.0 <= delay <= ceiling_s(attempt, base_s=0.5, max_s=30.0)


def test_jitter_uses_the_whole_range() -> None:
    """Full jitter: delays fill the range evenly, so jobs that failed together come back spread out."""
    rng = random.Random(1)
    delays = [backoff_s(4, base_s=1.0, max_s=60.0, rng=rng) for _ in range(4000)]
    assert min(delays) < 0.1
    assert max(delays) > 7.9
    assert sum(delays) / len(delays) == pytest.approx(4.0, abs=0.2)


def test_same_seed_gives_the_same_delay() -> None:
    """The randomness is the caller's."""
    first, second = (backoff_s(3, base_s=1.0, max_s=9.0, rng=random.Random(5)) for _ in range(2))
    assert first == second
