"""What one answer drew, in the same words for all providers."""

from __future__ import annotations

from typing_extensions import TypedDict


class Usage(TypedDict):
    """Tokens and cost of one answer, normalised over providers (None = the provider does not say)."""

    input_total: int | None
    """With what was read from and written to the provider's cache."""
    input_cached: int | None
    """Of `input_total`: read from the cache."""
    input_cache_write: int | None
    """Of `input_total`: written to the cache, which some providers bill above the price of input."""
    output_total: int | None
    """With reasoning."""
    reasoning: int | None
    cost_usd: float | None
    """Only when the provider states it."""


NO_USAGE: Usage = {
    "input_total": None,
    "input_cached": None,
    "input_cache_write": None,
    "output_total": None,
    "reasoning": None,
    "cost_usd": None,
}
