"""Costing: what each attempt cost, for its event, the job's record and the counters.

Bills are exact decimals; what is written is JSON, so here they become floats, once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from shared.catalogue import Basis, Bill, Catalogue, bill_of
from shared.chat import ChatRequest
from shared.errors import ChatqError, UpstreamError
from shared.job import Candidate
from shared.usage import NO_USAGE
from worker.upstream import Answer

_STANDARD_TIERS = (None, "default", "standard", "auto", "on_demand")
"""Service tiers whose price the catalogue knows, as answers name them (docs/provider-wire.md §3, §7, §13)."""

_IMAGE_PARTS = ("image_url", "input_image", "image")


class Cost(NamedTuple):
    """What one attempt cost.

    Attributes:
        usd: None when it is not known, or there is nothing to pay.
        basis: Who says so, or why nobody does (`shared.catalogue.Basis`); None when there is nothing to pay.
    """

    usd: float | None
    basis: Basis | None


NOTHING_TO_PAY = Cost(None, None)
"""Of a call that was turned away, or never made."""


class Costing:
    """Puts a price on attempts.

    Args:
        catalogue: With the prices; it is asked for every call, so it keeps what it found.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def answered(self, request: ChatRequest, candidate: Candidate, answer: Answer, *, at: float) -> Cost:
        """The cost of a call that brought an answer.

        Args:
            request: What was asked; images may have a price.
            candidate: Who was called.
            answer: What it brought.
            at: When it was called, Unix seconds.
        """
        facts = self._catalogue.find(candidate.provider, candidate.model)
        images = _images(request) if facts is not None and facts.has_image_price else 0
        bill = bill_of(facts, answer.usage, at=at, images=images)
        if bill.basis == "computed" and answer.response.get("service_tier") not in _STANDARD_TIERS:
            return Cost(None, "no_price")
        return _cost(bill)

    def failed(self, candidate: Candidate, error: ChatqError | None, *, at: float) -> Cost:
        """The cost of a call that brought no answer; something may be charged for it all the same.

        Args:
            candidate: Who was called.
            error: Why; None: we dropped the call.
            at: When it was called, Unix seconds.
        """
        usage = NO_USAGE
        if error is not None:
            if not isinstance(error, UpstreamError) or not error.maybe_billed:
                return NOTHING_TO_PAY
            usage = error.usage or NO_USAGE
        return _cost(self._catalogue.bill(candidate.provider, candidate.model, usage, at=at))


def record(response: dict[str, Any], cost: Cost) -> None:
    """Write the cost of an answer into chatq's record of it."""
    response["chatq"]["cost_usd"] = cost.usd
    response["chatq"]["cost_basis"] = cost.basis


def _cost(bill: Bill) -> Cost:
    usd, basis = bill
    return Cost(None if usd is None else float(usd), basis)


def _images(request: ChatRequest) -> int:
    contents = [message.get("content") for message in request.messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return sum(part.get("type") in _IMAGE_PARTS for part in parts)
