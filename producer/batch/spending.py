"""Spending: the parts that keep a run within its budget, together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from producer.batch.budget import Budget
from producer.batch.estimate import Estimator
from producer.batch.gate import Gate


class Funds(NamedTuple):
    """What a run with a limit is given: how much there is, and what lines will take of it."""

    budget: Budget
    estimator: Estimator


@dataclass(frozen=True, slots=True)
class Spending:
    """What keeps a run within its budget.

    Attributes:
        gate: Lets new lines through as far as there is money.
        cancelled: Ids of the jobs that were cancelled because there is none.
    """

    gate: Gate
    cancelled: set[str]

    @property
    def budget(self) -> Budget:
        """The money."""
        return self.gate.budget
