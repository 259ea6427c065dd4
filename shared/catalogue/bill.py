"""A bill: what one call cost, and who says so; or why nobody knows."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, NamedTuple

from shared.catalogue.facts import ModelFacts
from shared.usage import Usage

Basis = Literal["reported", "computed", "local", "subscription", "no_price", "no_usage"]
"""Who says what a call cost.

`reported`: the provider. `computed`: the catalogue's price for what the provider counted. `local`: own hardware,
which costs nothing a call. `subscription`: inside a plan that is paid for anyway. Not known: `no_price` (the
catalogue has none for this model or this way of calling it), `no_usage` (the provider did not say what it counted).
"""


class Bill(NamedTuple):
    """What one call cost.

    Attributes:
        usd: Exact; None when it is not known, which is never the same as 0.
        basis: Who says so, or why nobody does.
    """

    usd: Decimal | None
    basis: Basis


LOCAL = Bill(Decimal(0), "local")
IN_PLAN = Bill(Decimal(0), "subscription")
NO_PRICE = Bill(None, "no_price")
NO_USAGE = Bill(None, "no_usage")


def bill_of(
    facts: ModelFacts | None, usage: Usage, *, at: float, images: int = 0, is_batch: bool = False
) -> Bill:
    """What a call to a model cost: as the provider says, else by the catalogue.

    Args:
        facts: On the model that was called; None: nothing is known.
        usage: What the provider counted, as far as it said.
        at: When the call was made, Unix seconds: prices change with days and hours.
        images: How many the request had.
        is_batch: The call went through the provider's own batch API.
    """
    kind = facts.kind if facts is not None else None
    reported_usd = usage["cost_usd"]
    if reported_usd is not None and (reported_usd > 0 or kind != "subscription"):
        return Bill(Decimal(repr(reported_usd)), "reported")
    if kind == "local":
        return LOCAL
    if kind == "subscription":
        return IN_PLAN
    if facts is None or facts.prices is None or (is_batch and facts.prices.batch_factor is None):
        return NO_PRICE
    usd = facts.prices.cost(usage, at=at, images=images, is_batch=is_batch)
    return NO_USAGE if usd is None else Bill(usd, "computed")
