"""What an answer says it cost."""

from __future__ import annotations

import math
from typing import Any


def stated_usd(*stated: Any) -> float | None:
    """The first cost that is one, in US dollars; None if there is none.

    OpenRouter writes a number, OpenCode text (docs/provider-wire.md §3, §4). Never negative, never infinite.
    """
    return next((usd for usd in map(_usd, stated) if usd is not None), None)


def _usd(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        usd = float(value)
    except (ValueError, OverflowError):
        return None
    return usd if math.isfinite(usd) and usd >= 0 else None
