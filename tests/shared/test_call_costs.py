"""The cost of a call, off its event."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.call_costs import CostSums, Whose, call_cost, read_sums, read_whose


@pytest.mark.parametrize(
    ("fields", "usd", "basis"),
    [
        ({"cost_usd": 0.1, "cost_source": "reported"}, "0.1", "reported"),
        ({"cost_usd": 0.1, "cost_source": "computed"}, "0.1", "computed"),
        ({"cost_usd": 0.1, "cost_source": {}}, "0.1", "reported"),
        ({"cost_usd": 0, "cost_source": "local"}, "0", "local"),
        ({"cost_usd": 0, "cost_source": "subscription"}, "0", "subscription"),
        ({"cost_usd": None, "cost_source": "no_price", "maybe_billed": True}, None, "no_price"),
        ({"cost_usd": None, "cost_source": "rm -rf", "maybe_billed": True}, None, "not_stated"),
        ({"cost_usd": -1, "maybe_billed": True}, None, "not_stated"),
        ({"cost_usd": None, "maybe_billed": False}, None, "unbilled"),
    ],
)
def test_cost_of_a_call(fields: dict[str, Any], usd: str | None, basis: str) -> None:
    """Known with its origin, unknown with the reason, or nothing to pay."""
    assert call_cost(fields) == (None if usd is None else Decimal(usd), basis)


@given(st.lists(st.decimals(0, 1000, places=9), max_size=20), st.integers(0, 10**9))
def test_sums_survive_redis(amounts: list[Decimal], tokens: int) -> None:
    """Digit for digit."""
    sums = CostSums()
    for amount in amounts:
        sums.add_call({"cost_usd": float(amount), "cost_source": "computed", "input_total": tokens})
    assert read_sums(sums.encode()) == sums
    assert sums.cost_usd == sum((Decimal(str(float(amount))) for amount in amounts), Decimal(0))


@given(st.builds(Whose, st.text(), st.text(), st.text(), st.text(), st.text()))
def test_whose_survives_redis(row: Whose) -> None:
    assert read_whose(row.encode()) == row


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'["a","b","c","d",1]', b'["a","b","c","d"]', b"7"])
def test_row_of_others_making_is_none(raw: bytes) -> None:
    """Anybody can write to Redis."""
    assert read_whose(raw) is None
    assert read_sums(raw) == CostSums()


def test_numbers_of_others_making_are_passed_over() -> None:
    """A count that no call can have would spoil the sums of a day."""
    sums = CostSums()
    for odd in (2**62, -1, True, "7", None, 1.5):
        sums.add_call({"input_total": odd, "input_cached": odd, "output_total": odd})
    assert (sums.calls, sums.input_tokens, sums.cached_tokens, sums.output_tokens) == (6, 0, 0, 0)
    odd_sums = read_sums(b'{"calls":1,"usd":"1e99","bases":{"computed":1,"made up":5,"no_price":-1}}')
    assert (odd_sums.cost_usd, odd_sums.bases) == (0, {"computed": 1})
