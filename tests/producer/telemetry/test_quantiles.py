"""Percentiles in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.telemetry.quantiles import Quantiles


def test_no_values_have_no_percentile() -> None:
    assert Quantiles().as_dict() == {"p50": None, "p95": None, "p99": None}


@given(st.lists(st.floats(1e-5, 1e6), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_percentile_is_right_to_one_percent(values: list[float], share: float) -> None:
    """Of the value that stands there in the sorted list; and a rounding to four digits."""
    quantiles = Quantiles()
    for value in values:
        quantiles.add(value)
    rank = max(1, -int(-share * len(values) // 1))
    assert quantiles.at(share) == pytest.approx(sorted(values)[rank - 1], rel=0.0101)


def test_any_value_is_taken() -> None:
    """Nothing and too much are the least and the most there is."""
    quantiles = Quantiles()
    for value in (0.0, 1e300):
        quantiles.add(value)
    assert quantiles.at(0.5) == pytest.approx(1e-6, rel=0.02)
    assert quantiles.at(1.0) == pytest.approx(1e9, rel=0.02)


def test_memory_is_bounded() -> None:
    """By the number of buckets between the least and the most."""
    quantiles = Quantiles()
    for n in range(20_000):
        quantiles.add(1.003**n if n < 10_000 else n)
    assert len(quantiles._buckets) < 1_800
