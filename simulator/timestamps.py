"""Points in time as RFC 3339 text in UTC, which is how Ollama and Anthropic write them."""

from __future__ import annotations

import functools
import time


def rfc3339(at: float) -> str:
    """Unix seconds to the microsecond: `2026-11-21T08:00:00.250000Z`."""
    whole = int(at)
    return f"{_second(whole)}.{int((at - whole) * 1_000_000):06d}Z"


def rfc3339_second(at: float) -> str:
    """Unix seconds rounded down: `2026-11-21T08:00:00Z`."""
    return f"{_second(int(at))}Z"


@functools.lru_cache(maxsize=16)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
