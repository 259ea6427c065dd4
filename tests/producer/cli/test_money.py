"""How amounts are shown."""

from __future__ import annotations

from decimal import Decimal

import pytest

from producer.cli.money import cost, dollars


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.0000"), ("12.34567", "$12.3457"), ("1234.5", "$1,234.5000"), ("0.01", "$0.0100"),
        ("0.001234", "$0.0012"), ("0.0000123", "$0.000012"), ("0.00000001", "$0.000000010"),
    ],
)  # fmt: skip
def test_small_amounts_say_something(amount: str, text: str) -> None:
    """Four decimals, and below a cent two digits."""
    assert dollars(Decimal(amount)) == text


def test_unknown_cost_is_never_nothing() -> None:
    """It is unknown, or in part, or there is nothing to pay."""
    shown = [cost(None, 3), cost(None, 0), cost(Decimal(0), 0), cost(Decimal(1), 2)]
    assert shown == ["unknown", "-", "$0.0000", "$1.0000 (unknown for 2)"]
