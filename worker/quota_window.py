"""Quota windows whose end a provider's rules name and its answer does not. Pure; Unix seconds in, seconds out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

DAY_S = 86_400.0
HOUR_S = 3600.0

_PACIFIC_STANDARD_S = 8 * HOUR_S
"""Pacific standard time, behind UTC. Kept in summer too: the wait ends up to an hour late, never early, and no
time zone data is needed."""

_MONDAY_S = 4 * DAY_S
"""The first Monday 00:00 UTC of the epoch, which began on a Thursday."""


def until_utc_midnight_s(now_s: float) -> float:
    """Seconds to the next midnight UTC (OpenRouter's and OpenCode's free models)."""
    return DAY_S - now_s % DAY_S


def until_pacific_midnight_s(now_s: float) -> float:
    """Seconds to the next midnight in California, or up to an hour more (Gemini's requests per day)."""
    return DAY_S - (now_s - _PACIFIC_STANDARD_S) % DAY_S


def until_monday_s(now_s: float) -> float:
    """Seconds to the next Monday 00:00 UTC (OpenCode Go's week)."""
    return 7 * DAY_S - (now_s - _MONDAY_S) % (7 * DAY_S)


def until_next_month_s(now_s: float) -> float:
    """Seconds to 00:00 UTC on the first of the next month (OpenCode Go, Anthropic's spend limits)."""
    month = datetime.fromtimestamp(now_s, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (month + timedelta(days=32)).replace(day=1).timestamp() - now_s


def hour_s(now_s: float) -> float:
    """The longest that a rolling hour can last from now, in seconds."""
    return HOUR_S


def session_s(now_s: float) -> float:
    """The longest that a rolling session of five hours can last from now (Ollama Cloud, OpenCode Go, Kimi)."""
    return 5 * HOUR_S


def week_s(now_s: float) -> float:
    """The longest that a rolling week can last from now, in seconds (Ollama Cloud)."""
    return 7 * DAY_S
