"""Durations as upstreams write them: `36`, `644ms`, `6m0s`, `1h2m3s`, `1 seconds`, `2 hours 5 minutes`. Pure."""

from __future__ import annotations

import re

DURATION = (
    r"(\d+(?:\.\d+)?)\s*"
    r"(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])"
)
"""One number with its unit, as a pattern for lowercase text; two groups."""

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(DURATION, re.IGNORECASE)
_GO_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def duration_s(text: str) -> float | None:
    """Seconds of a field that holds nothing but a duration: plain seconds or a Go duration; None for others."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    return worded_duration_s(text) if _GO_DURATION.fullmatch(text) else None


def worded_duration_s(text: str) -> float:
    """Sum of all numbers with units in a text, in seconds."""
    total_s = 0.0
    for number, unit in _PART.findall(text):
        unit = unit.lower()
        total_s += float(number) * _UNIT_S["ms" if unit.startswith(("ms", "milli")) else unit[0]]
    return total_s
