"""The cost that an answer states."""

from __future__ import annotations

import pytest

from worker.upstream.stated_cost import stated_usd


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        ((0.00095,), 0.00095),
        (("0.00012300",), 0.000123),
        ((0, 5), 0.0),
        ((None, "0.5"), 0.5),
        ((-1,), None),
        (("nan",), None),
        (("free",), None),
        ((True,), None),
        (({},), None),
        ((10**400,), None),
        ((), None),
    ],
)
def test_first_cost_that_is_one_counts(stated: tuple[object, ...], read: float | None) -> None:
    """As a number or as text; nonsense is not a cost, and zero is one."""
    assert stated_usd(*stated) == read
