"""Dollars from and to JSON."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.money import json_usd, read_usd, write_usd

amounts = st.decimals(0, 10**6, places=9)


@pytest.mark.parametrize("value", [None, True, "1", [], -0.1, -1, float("nan"), float("inf"), 10**12])
def test_what_is_no_amount_is_none(value: object) -> None:
    """JSON comes from anybody."""
    assert read_usd(value) is None


def test_written_digits_are_read() -> None:
    """Not the float's nearest binary fraction, which sums would show."""
    assert sum((read_usd(0.1) or 0 for _ in range(10)), Decimal(0)) == 1


@given(amounts)
def test_amount_survives_json(amount: Decimal) -> None:
    """As text of a record, and as plain data, as far as a float has digits."""
    assert Decimal(write_usd(amount)) == amount
    assert read_usd(orjson.loads(write_usd(amount))) == read_usd(json_usd(amount))


@pytest.mark.parametrize(
    ("amount", "text"), [("0", "0"), ("10", "10"), ("0.10", "0.1"), ("1E-9", "0.000000001")]
)
def test_amount_is_written_in_plain_digits(amount: str, text: str) -> None:
    assert write_usd(Decimal(amount)) == text
