"""Meters over call records: what really passed in a window of time, whatever a limiter believes.

They count admitted calls only. A call starts when it is admitted and ends when its slot is free. Windows and calls
hold their first moment and not their last, so calls exactly a window apart are in different windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from simulator.calllog import CallRecord

_MINUTE_S = 60.0

Weigh = Callable[[CallRecord], float]
"""How much of a limit a call uses."""


def one_request(record: CallRecord) -> float:
    """Weighs calls for a limit on requests."""
    return 1


def charged_tokens(record: CallRecord) -> float:
    """Weighs calls for a limit on tokens, as the simulator charged them."""
    return record.charged_tokens


def peak_window(records: Iterable[CallRecord], window_s: float, weigh: Weigh) -> float:
    """The most that started within any window of this length; 0 without calls."""
    starts = _starts(records, weigh)
    peak = inside = 0.0
    oldest = 0
    for at_s, weight in starts:
        inside += weight
        while at_s - starts[oldest][0] >= window_s:
            inside -= starts[oldest][1]
            oldest += 1
        peak = max(peak, inside)
    return peak


def peak_overlap(records: Iterable[CallRecord]) -> int:
    """The most calls that ran at the same time; a slot freed and taken in one moment is one call."""
    # At the same moment ends (-1) sort before starts.
    changes = sorted(
        change
        for record in records
        if record.started_s is not None
        for change in ((record.started_s, 1), (record.ended_s, -1))
    )
    peak = running = 0
    for _, change in changes:
        running += change
        peak = max(peak, running)
    return peak


def utilisation(
    records: Iterable[CallRecord], limit_per_min: float, start_s: float, end_s: float, weigh: Weigh
) -> float:
    """What started in a stretch of time, as a share of what the limit allows in it; 1 is all of it.

    Raises:
        ValueError: The stretch is empty, or the limit not above 0.
    """
    if end_s <= start_s or limit_per_min <= 0:
        raise ValueError("a share needs a limit above 0 and an end after the start")
    used = sum(weight for at_s, weight in _starts(records, weigh) if start_s <= at_s < end_s)
    return used / (limit_per_min * (end_s - start_s) / _MINUTE_S)


def _starts(records: Iterable[CallRecord], weigh: Weigh) -> list[tuple[float, float]]:
    """Start and weight of every admitted call, in order of time."""
    return sorted((record.started_s, weigh(record)) for record in records if record.started_s is not None)
