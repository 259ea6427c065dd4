"""How amounts of money are shown."""

from __future__ import annotations

from decimal import Decimal


def dollars(amount: Decimal) -> str:
    """`$12.3456`: four decimals, and below a cent two digits that say something."""
    decimals = 4
    if 0 < amount < Decimal("0.01"):
        decimals = max(4, 1 - amount.adjusted())
    return f"${amount:,.{decimals}f}"


def cost(amount: Decimal | None, unknown: int) -> str:
    """Dollars as far as known; unknown cost is not 0."""
    if amount is None:
        return "unknown" if unknown else "-"
    return dollars(amount) + (f" (unknown for {unknown:,})" if unknown else "")
