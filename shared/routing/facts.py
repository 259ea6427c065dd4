"""Facts: what strategies want to know of a candidate at this moment, from whoever knows it."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from shared.job import Candidate


class Facts(Protocol):
    """What is known of candidates. Asked often, so answers come from memory."""

    def is_open(self, candidate: Candidate) -> bool:
        """Whether it takes no calls just now: a breaker is open, or it is closed for a while."""
        ...

    def price_usd(self, candidate: Candidate, input_tokens: int, output_tokens: int) -> Decimal | None:
        """What a call of this size would cost; None = no price is known."""
        ...

    def p50_s(self, candidate: Candidate) -> float | None:
        """The usual time of its answers lately, in seconds; None = it was not tried.

        Infinite = it was tried, and has never answered.
        """
        ...

    def finish_in_s(self, candidate: Candidate) -> float | None:
        """When a job that is added now would be finished, in seconds from now; None = nothing is known of it.

        Infinite = it was tried, and has never answered: what fails at once has no backlog either.
        """
        ...


class _NoFacts:
    """Nothing is known."""

    def is_open(self, candidate: Candidate) -> bool:
        return False

    def price_usd(self, candidate: Candidate, input_tokens: int, output_tokens: int) -> Decimal | None:
        return None

    def p50_s(self, candidate: Candidate) -> float | None:
        return None

    def finish_in_s(self, candidate: Candidate) -> float | None:
        return None


NO_FACTS: Facts = _NoFacts()
"""For a decision in the dark: every group keeps the order of its targets."""
