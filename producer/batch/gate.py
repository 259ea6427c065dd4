"""The gate: lets lines through to Redis as far as there is money for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from producer.batch.budget import Budget
from producer.batch.estimate import Estimator
from producer.batch.reader import BadLine, Line
from producer.batch.record import BUDGET_REACHED
from producer.submission import Submission
from shared.errors import JobRejected

PRICE_UNKNOWN = "price_unknown"
"""Code of a line that no limit could be kept for."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What became of some lines.

    Attributes:
        lines: They may be submitted.
        bad: They are never.
        rest: They have to wait for money.
    """

    lines: list[Line] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    rest: list[Line] = field(default_factory=list)


class Gate:
    """Reserves money for lines, in their order.

    Args:
        submission: The submission of a line.
        job_id: The id of its job.
        advice: What to do with lines that are left out.
    """

    def __init__(
        self,
        budget: Budget,
        estimator: Estimator,
        *,
        submission: Callable[[Line], Submission],
        job_id: Callable[[Line], str],
        advice: str = "the same command with a higher limit goes on with this line",
    ) -> None:
        self.budget = budget
        self._advice = advice
        self._estimator = estimator
        self._submission = submission
        self._job_id = job_id

    async def admit(self, lines: Sequence[Line], *, is_known: bool = False) -> Passed:
        """Let lines through until one does not fit.

        Args:
            is_known: They are in Redis already: they go through, and their money is booked.

        Raises:
            StoreError: No answer from Redis.
        """
        passed = Passed()
        for index, line in enumerate(lines):
            found = await self._estimator.estimate(self._submission(line))
            if isinstance(found, JobRejected):
                passed.lines.append(line)  # the producer says the same, in its words
            elif is_known:
                self.budget.book(self._job_id(line), found.cost_usd[1] if found.cost_usd else Decimal(0))
                passed.lines.append(line)
            elif found.cost_usd is None:
                passed.bad.append(_priceless(line, f"{found.candidate.provider}/{found.candidate.model}"))
            elif self.budget.reserve(self._job_id(line), found.cost_usd[1]):
                passed.lines.append(line)
            else:
                passed.rest.extend(lines[index:])
                break
        return passed

    def mark(self, line: Line) -> BadLine:
        """The record of a line that is left out because the budget is reached."""
        return BadLine(line.number, line.custom_id, BUDGET_REACHED, self.text)

    @property
    def text(self) -> str:
        """Why lines are left out, and what to do."""
        return f"{self.budget.why}: not asked; {self._advice}"


def _priceless(line: Line, model: str) -> BadLine:
    text = (
        f"no price is known for {model}, so no limit of cost can be kept: state one in the settings "
        f'([catalogue."{model}"] price), then retry the failed lines'
    )
    return BadLine(line.number, line.custom_id, PRICE_UNKNOWN, text)
