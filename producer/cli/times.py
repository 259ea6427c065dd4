"""How points in time and spans are shown."""

from __future__ import annotations

import time


def span(seconds: float) -> str:
    """A span in its fitting unit: `40 s`, `3 min`, `2.5 h`, `4 d`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def moment(at: float) -> str:
    """Unix seconds as local time, with the date unless it is within twelve hours."""
    is_near = abs(at - time.time()) < 43_200
    return time.strftime("%H:%M:%S" if is_near else "%Y-%m-%d %H:%M:%S", time.localtime(at))
