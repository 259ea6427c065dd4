from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.buckets import Bucket

LIMITS = st.integers(1, 10_000_000)
SLICES = st.floats(0.01, 60)
CLOCKS = st.floats(0, 1e7)
ARRIVALS = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 400)), max_size=40)


def fits(bucket: Bucket, amount: int, now_s: float) -> bool:
    """Take the amount if it is there now."""
    if bucket.wait_s(amount, now_s) != 0:
        return False
    bucket.take(amount)
    return True


def test_minute_slice_allows_burst_then_even_refill() -> None:
    """A full minute at once, then one per refill interval."""
    bucket = Bucket(60, 60, 0.0)
    assert all(fits(bucket, 1, 0.0) for _ in range(60))
    assert bucket.wait_s(1, 0.0) == pytest.approx(1.0)
    assert not fits(bucket, 1, 0.999)
    assert fits(bucket, 1, 1.0)


def test_second_slice_allows_a_sixtieth_at_once() -> None:
    """60,000 per minute is 1,000 per second."""
    bucket = Bucket(60_000, 1, 0.0)
    assert [fits(bucket, 1, 0.0) for _ in range(1001)].count(True) == 1000
    assert bucket.wait_s(1, 0.0) == pytest.approx(0.001)


def test_slice_below_one_request_lets_one_pass() -> None:
    """Six per minute in slices of a second is one every ten seconds."""
    bucket = Bucket(6, 1, 0.0)
    assert fits(bucket, 1, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(10.0)


def test_amount_above_slice_leaves_full_bucket_in_debt() -> None:
    """It waits for a full slice, and the next one waits until the debt is paid."""
    bucket = Bucket(600, 1, 0.0)
    assert fits(bucket, 1, 0.0)
    assert bucket.wait_s(100, 0.0) == pytest.approx(0.1)
    assert fits(bucket, 100, 0.1)
    assert bucket.remaining(0.1) == 0
    assert bucket.wait_s(1, 0.1) == pytest.approx(9.1)


@pytest.mark.parametrize("slice_s", [1, 60])
def test_amount_above_limit_never_fits(slice_s: float) -> None:
    """No wait is stated for what no wait can cure."""
    assert Bucket(100, slice_s, 0.0).wait_s(101, 0.0) is None


@pytest.mark.parametrize(("limit", "remaining"), [(30, 10), (5, 5), (120, 10)])
def test_changed_limit_keeps_what_is_left(limit: int, remaining: int) -> None:
    """Neither raising nor lowering a limit is a gift."""
    bucket = Bucket(60, 60, 0.0)
    assert fits(bucket, 50, 0.0)
    bucket.change(limit, 60, 0.0)
    assert bucket.remaining(0.0) == remaining


def test_changed_limit_refills_at_its_own_pace() -> None:
    """A limit that is halved live is half as fast from then on."""
    bucket = Bucket(60, 1, 0.0)
    assert fits(bucket, 1, 0.0)
    bucket.change(30, 1, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(2.0)


@given(limit=LIMITS, slice_s=SLICES, arrivals=ARRIVALS)
def test_no_stretch_of_time_gets_more_than_its_share(
    limit: int, slice_s: float, arrivals: list[tuple[float, int]]
) -> None:
    """In any stretch: one slice, or one call if that is larger, and what refills meanwhile."""
    bucket, now_s, taken = Bucket(limit, slice_s, 0.0), 0.0, []
    for pause_s, amount in arrivals:
        now_s += pause_s
        if fits(bucket, amount, now_s):
            taken.append((now_s, amount))
    for first, (start_s, _) in enumerate(taken):
        for last in range(first, len(taken)):
            amounts = [amount for _, amount in taken[first : last + 1]]
            share = limit / 60 * (taken[last][0] - start_s)
            assert sum(amounts) <= max(1, limit * slice_s / 60, *amounts) + share + limit / 60 * 1e-5


@given(limit=LIMITS, slice_s=SLICES, now_s=CLOCKS, amounts=st.lists(st.integers(1, 400), min_size=1))
def test_waiting_as_told_is_enough(limit: int, slice_s: float, now_s: float, amounts: list[int]) -> None:
    """Rounding never refuses a call that came back when it was told to."""
    bucket = Bucket(limit, slice_s, now_s)
    for amount in amounts:
        wait_s = bucket.wait_s(min(amount, limit), now_s)
        assert wait_s is not None and math.isfinite(wait_s)
        now_s += wait_s
        assert fits(bucket, min(amount, limit), now_s)
