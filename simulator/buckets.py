"""One allowance per minute, handed out evenly.

A bucket holds one enforcement slice of the allowance, so that many may pass at once. With a slice of a minute that
is the whole allowance; with a slice of a second it is what providers do that read 60,000 per minute as 1,000 per
second (OpenAI's rate limit guide says so). It refills evenly, so the average holds whatever the slice.
"""

from __future__ import annotations

import math

_MINUTE_S = 60.0
_BLUR_S = 1e-6
"""What would be there within this time counts as there, else rounding could refuse a call that waited `wait_s`.
It stays owed, so nothing is given away."""


class Bucket:
    """What is left of an allowance. Times are seconds on any steady clock."""

    def __init__(self, limit: int, slice_s: float, now_s: float) -> None:
        self._level = math.inf
        self._at_s = now_s
        self._shape(limit, slice_s)

    def _shape(self, limit: int, slice_s: float) -> None:
        self.limit = limit
        """Per minute."""
        self._per_s = limit / _MINUTE_S
        # One request must fit, whatever the slice.
        self._size = max(1.0, self._per_s * slice_s)
        self._level = min(self._level, self._size)

    def change(self, limit: int, slice_s: float, now_s: float) -> None:
        """Take another limit or slice. What is left stays, cut to the new size: a change is no gift."""
        self._refill(now_s)
        self._shape(limit, slice_s)

    def fill(self, now_s: float) -> None:
        """Forget all that was taken."""
        self._level, self._at_s = self._size, now_s

    def take(self, amount: int) -> None:
        """Take what `wait_s` found to be there, or leave the bucket in debt."""
        self._level -= amount

    def wait_s(self, amount: int, now_s: float) -> float | None:
        """Seconds until this amount may be taken; 0 for now, None for never.

        More than a slice holds is taken from a full bucket, which is in debt then. More than the limit never fits.
        """
        if amount > self.limit:
            return None
        missing = min(amount, self._size) - self._refill(now_s)
        return missing / self._per_s if missing > self._per_s * _BLUR_S else 0.0

    def remaining(self, now_s: float) -> int:
        """Whole units that may be taken now."""
        return max(0, math.floor(self._refill(now_s) + self._per_s * _BLUR_S))

    def full_in_s(self, now_s: float) -> float:
        """Seconds until the bucket is full."""
        return (self._size - self._refill(now_s)) / self._per_s

    def _refill(self, now_s: float) -> float:
        elapsed_s = max(0.0, now_s - self._at_s)
        self._level = min(self._size, self._level + elapsed_s * self._per_s)
        self._at_s = now_s
        return self._level
