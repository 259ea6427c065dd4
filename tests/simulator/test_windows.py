from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import CallRecord
from simulator.windows import charged_tokens, one_request, peak_overlap, peak_window, utilisation


def call(started_s: float | None, ended_s: float = 0.0, tokens: int = 1) -> CallRecord:
    return CallRecord(
        0.0, "openai", "/", None, None, None, started_s=started_s, ended_s=ended_s, charged_tokens=tokens
    )


# Few moments, so that calls meet at the same one and lie exactly a window apart.
MOMENTS = st.integers(0, 40)
CALLS = st.lists(
    st.builds(
        lambda start, length, tokens: call(start, (start or 0) + length, tokens),
        st.none() | MOMENTS,
        st.integers(0, 20),
        st.integers(0, 1000),
    ),
    max_size=30,
)


def admitted(records: list[CallRecord]) -> list[tuple[float, float, int]]:
    """Start, end and tokens of the calls that count."""
    return [(r.started_s, r.ended_s, r.charged_tokens) for r in records if r.started_s is not None]


@given(records=CALLS, window_s=st.integers(1, 20))
def test_peak_window_is_that_of_every_window_tried(records: list[CallRecord], window_s: int) -> None:
    """A window with the most calls can start with a call, so trying those is enough."""
    calls = admitted(records)
    sums = [
        sum(tokens for at_s, _, tokens in calls if first <= at_s < first + window_s) for first, _, _ in calls
    ]
    assert peak_window(records, window_s, charged_tokens) == max(sums, default=0)


@given(records=CALLS)
def test_peak_overlap_is_that_of_every_moment_tried(records: list[CallRecord]) -> None:
    """The most calls run when one starts."""
    calls = admitted(records)
    counts = [sum(start_s <= now_s < end_s for start_s, end_s, _ in calls) for now_s, _, _ in calls]
    assert peak_overlap(records) == max(counts, default=0)


@given(records=CALLS, start_s=MOMENTS, length_s=st.integers(1, 40), limit=st.integers(1, 1000))
def test_utilisation_counts_what_started_inside(
    records: list[CallRecord], start_s: int, length_s: int, limit: int
) -> None:
    """Every call that started in the stretch, and no other."""
    inside = [at_s for at_s, _, _ in admitted(records) if start_s <= at_s < start_s + length_s]
    share = utilisation(records, limit, start_s, start_s + length_s, one_request)
    assert share == pytest.approx(len(inside) / (limit * length_s / 60))


def test_calls_a_window_apart_are_not_in_one() -> None:
    """A window holds its first moment and not its last."""
    assert peak_window([call(0.0), call(60.0)], 60.0, one_request) == 1
    assert peak_window([call(0.0), call(59.999)], 60.0, one_request) == 2


def test_slot_freed_and_taken_is_one_call() -> None:
    """The end of a call comes before the start of the next."""
    assert peak_overlap([call(1.0, 2.0), call(0.0, 1.0)]) == 1


def test_refused_calls_use_nothing() -> None:
    """Who was never admitted has no start."""
    refused = [call(None, 5.0)] * 3
    assert (peak_window(refused, 1.0, one_request), peak_overlap(refused)) == (0, 0)


@pytest.mark.parametrize(("limit", "end_s"), [(60, 1.0), (60, 0.5), (0, 2.0)])
def test_share_of_nothing_is_refused(limit: int, end_s: float) -> None:
    """An empty stretch or limit has no share."""
    with pytest.raises(ValueError, match="limit above 0"):
        utilisation([], limit, 1.0, end_s, one_request)
