"""Amounts of money: US dollars as exact decimals, from and to JSON."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

MOST_USD = Decimal(10) ** 12
"""More is no sum of money; it also keeps what is added up within a decimal's 28 digits."""

MICRO_USD = Decimal("1e-6")
"""What the counters of minutes count in."""

SMALLEST_USD = Decimal("1e-12")
"""What is written is rounded to this: a token of the cheapest model costs 10,000 times as much."""


def read_usd(value: Any) -> Decimal | None:
    """Dollars as JSON has them, digit for digit; None for what is no amount (negative, NaN, a bool, a text).

    The value is untrusted: it comes from Redis, a provider, or a file.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    amount = Decimal(str(value))  # the digits that were written, not the float's nearest binary fraction
    return amount if amount.is_finite() and 0 <= amount < MOST_USD else None


def write_usd(amount: Decimal) -> str:
    """The amount as a JSON number, in plain digits."""
    text = format(amount.quantize(SMALLEST_USD), "f")
    return text.rstrip("0").rstrip(".")


def json_usd(amount: Decimal | None) -> float | None:
    """The amount where JSON is written from plain data; nothing is added up in this form."""
    return None if amount is None else float(amount.quantize(SMALLEST_USD))
