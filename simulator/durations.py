"""Durations as Go prints them, which is how OpenAI and Ollama state waits."""

from __future__ import annotations

import math

_DUST_MS = 1e-9
"""Keeps rounding errors of floats from adding a millisecond."""


def go_duration(duration_s: float) -> str:
    """A duration to the millisecond, rounded up: `0s`, `12ms`, `1.5s`, `6m0s`, `1h2m3s`."""
    total_ms = math.ceil(duration_s * 1000 - _DUST_MS)
    if total_ms < 1000:
        return f"{total_ms}ms" if total_ms else "0s"
    minutes, rest_ms = divmod(total_ms, 60_000)
    seconds = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if not minutes:
        return seconds
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}"
