"""A histogram: counts of durations, for metrics."""

from __future__ import annotations

from bisect import bisect_left


class Histogram:
    """Counts of seconds by upper bound; the last count is what was above all of them."""

    __slots__ = ("bounds_s", "counts", "total_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.total_s += seconds
