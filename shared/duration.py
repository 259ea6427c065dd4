"""Durations as people write them: `90`, `90s`, `30m`, `2h`, `1d`."""

from __future__ import annotations

import re

UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd]?)")


def read_duration(text: str) -> float | None:
    """Seconds, more than 0; None for what is no duration."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    return float(match[1]) * UNITS_S[match[2]] or None
