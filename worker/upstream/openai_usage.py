"""The usage of a chat completion, in all the places where servers of this wire put it (provider-wire.md §14)."""

from __future__ import annotations

from typing import Any

from shared.usage import Usage
from worker.upstream.answers import tokens
from worker.upstream.stated_cost import stated_usd

TICKS_PER_USD = 10_000_000_000
"""xAI states costs in ticks (provider-wire.md §10)."""


def usage_of(data: dict[str, Any]) -> Usage:
    """Read the usage of an answer; what is not stated, or is no count, is None.

    Args:
        data: A ChatCompletion, as its server wrote it.
    """
    usage = _table(data.get("usage"))
    prompt = _table(usage.get("prompt_tokens_details"))
    output = _table(usage.get("completion_tokens_details"))
    cached = prompt.get("cached_tokens")
    if cached is None:  # Kimi and Moonshot; DeepSeek
        cached = usage.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    counted: Usage = {
        "input_total": tokens(usage.get("prompt_tokens")),
        "input_cached": tokens(cached),
        "input_cache_write": tokens(prompt.get("cache_write_tokens")),
        "output_total": tokens(usage.get("completion_tokens")),
        "reasoning": tokens(output.get("reasoning_tokens")),
        "cost_usd": _cost_usd(data, usage),
    }
    if "timings" in data:
        _count_by_timings(counted, _table(data["timings"]))
    if counted["input_cached"] and counted["input_total"] is not None:
        # xAI was seen to state more than the whole prompt.
        counted["input_cached"] = min(counted["input_cached"], counted["input_total"])
    return counted


def _count_by_timings(counted: Usage, timings: dict[str, Any]) -> None:
    """llama.cpp's own counters, for what its `usage` leaves out."""
    if counted["input_cached"] is None:
        counted["input_cached"] = tokens(timings.get("cache_n"))
    if counted["input_total"] is None:
        read = tokens(timings.get("prompt_n"))
        counted["input_total"] = None if read is None else read + (counted["input_cached"] or 0)
    if counted["output_total"] is None:
        counted["output_total"] = tokens(timings.get("predicted_n"))


def _cost_usd(data: dict[str, Any], usage: dict[str, Any]) -> float | None:
    """What the provider says it cost: in most answers, nothing."""
    cost, outside, ticks = usage.get("cost"), data.get("cost"), usage.get("cost_in_usd_ticks")
    if cost is None and outside is None and ticks is None:
        return None
    counted = tokens(ticks)
    return stated_usd(cost, outside, None if counted is None else counted / TICKS_PER_USD)


_EMPTY: dict[str, Any] = {}


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else _EMPTY
