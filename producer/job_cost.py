"""What a job cost so far: its answer, and the calls before it: those that failed, and the rating of a selector."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from shared.job import Job
from shared.money import read_usd


class JobCost(NamedTuple):
    """The cost of a job's calls.

    Attributes:
        usd: Of the calls whose cost is known.
        unknown: Calls that may be billed and whose cost nobody knows.
    """

    usd: Decimal
    unknown: int


def job_cost(job: Job) -> JobCost:
    """Add up a job's calls, as far as it remembers them."""
    usd, unknown = Decimal(0), 0
    before = job.attempts_log
    if job.response is not None and before and before[-1].error is None:
        before = before[:-1]  # the call that answered: its cost stands in the answer
    for attempt in before:
        cost = read_usd(attempt.cost_usd)
        usd += cost or 0
        unknown += cost is None and attempt.maybe_billed
    if job.response is not None:
        cost = _of_answer(job.response.get("chatq"))
        usd += cost or 0
        unknown += cost is None
    return JobCost(usd, unknown)


def _of_answer(record: object) -> Decimal | None:
    """From chatq's record in an answer: what the catalogue makes of it, else what the provider states."""
    match record:
        case {"cost_usd": int() | float() as cost}:
            return read_usd(cost)
        case {"usage": {"cost_usd": int() | float() as cost}}:
            return read_usd(cost)
        case _:
            return None
