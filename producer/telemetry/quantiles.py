"""Percentiles of any number of values in bounded memory.

Values are counted in buckets whose bounds grow by 2 %, so a percentile is right to 1 % (the idea of DDSketch,
Masson et al., 2019).
"""

from __future__ import annotations

import math
from collections import defaultdict

GROWTH = 1.02
LEAST = 1e-6
"""Values below count as this; with seconds, a microsecond."""
MOST = 1e9
"""Values above count as this."""

_LOG_GROWTH = math.log(GROWTH)


class Quantiles:
    """Counts values of 0 and more, and tells their percentiles."""

    def __init__(self) -> None:
        self._buckets: defaultdict[int, int] = defaultdict(int)
        self.count = 0

    def add(self, value: float) -> None:
        """Count one."""
        self._buckets[math.floor(math.log(min(MOST, max(LEAST, value))) / _LOG_GROWTH)] += 1
        self.count += 1

    def at(self, share: float) -> float | None:
        """The value that this share (0 to 1) of all values does not exceed; None without values."""
        if not self.count:
            return None
        rank = max(1, math.ceil(share * self.count))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                break
        return float(f"{GROWTH ** (bucket + 0.5):.4g}")

    def as_dict(self) -> dict[str, float | None]:
        """The percentiles that are shown."""
        return {"p50": self.at(0.50), "p95": self.at(0.95), "p99": self.at(0.99)}
