"""When quota windows end by the providers' rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from worker.quota_window import (
    until_monday_s,
    until_next_month_s,
    until_pacific_midnight_s,
    until_utc_midnight_s,
)

ENDS: list[tuple[Callable[[float], float], str, str]] = [
    (until_utc_midnight_s, "2026-11-21T04:40:00", "2026-11-22T00:00:00"),
    (until_utc_midnight_s, "2026-11-21T00:00:00", "2026-11-22T00:00:00"),
    (until_pacific_midnight_s, "2026-11-21T04:40:00", "2026-11-21T08:00:00"),
    (until_pacific_midnight_s, "2026-11-21T09:00:00", "2026-11-22T08:00:00"),
    (until_monday_s, "2026-11-21T04:40:00", "2026-11-23T00:00:00"),
    (until_monday_s, "2026-11-23T00:00:00", "2026-11-30T00:00:00"),
    (until_next_month_s, "2026-11-21T04:40:00", "2026-12-01T00:00:00"),
    (until_next_month_s, "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
    (until_next_month_s, "2027-01-31T12:00:00", "2027-02-01T00:00:00"),
]


@pytest.mark.parametrize(("window", "now", "end"), ENDS)
def test_window_ends_at_its_moment(window: Callable[[float], float], now: str, end: str) -> None:
    """At the very moment of a reset the next window has begun."""
    now_s, end_s = (datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in (now, end))
    assert window(now_s) == end_s - now_s
