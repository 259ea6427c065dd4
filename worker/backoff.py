"""Backoff: the delay before a job's next attempt. Pure; the curve stands apart from the jitter."""

from __future__ import annotations

import random


def ceiling_s(attempt: int, *, base_s: float, max_s: float) -> float:
    """The longest delay after a failed attempt: `base_s`, doubled for each attempt before, up to `max_s`.

    Args:
        attempt: Number of the attempt that failed; the first call is 1.
        base_s: Ceiling after the first attempt, in seconds.
        max_s: No delay is longer than this, in seconds.
    """
    doublings = min(max(attempt - 1, 0), 64)  # 2**64 base periods outlast any max_s
    return min(max_s, base_s * 2.0**doublings)


def backoff_s(attempt: int, *, base_s: float, max_s: float, rng: random.Random) -> float:
    """The delay in seconds: anywhere between nothing and the ceiling ("full jitter").

    Jobs that failed together come back spread out, and only one layer of chatq retries.

    Args:
        attempt: Number of the attempt that failed; the first call is 1.
        base_s: Ceiling after the first attempt, in seconds.
        max_s: No delay is longer than this, in seconds.
        rng: Source of the jitter.
    """
    return rng.uniform(0.0, ceiling_s(attempt, base_s=base_s, max_s=max_s))
