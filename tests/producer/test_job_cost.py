"""What a job cost: all its calls."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from producer.job_cost import JobCost, job_cost
from shared.job import Attempt, Candidate, Job, JobState


def attempt(error: str | None = "server_error", **fields: Any) -> Attempt:
    return Attempt(1, Candidate("p", "m"), 0.0, 1.0, 500, error, **fields)


def job(record: object, *attempts: Attempt) -> Job:
    return Job(
        id="j", state=JobState.COMPLETED, lane="batch", queue="p.batch", requested_model="m",
        candidate=Candidate("p", "m"), attempts=1, created_at=0.0, response={"chatq": record},
        attempts_log=list(attempts),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("record", "cost"),
    [
        ({"cost_usd": 0.25, "usage": {"cost_usd": 0.5}}, JobCost(Decimal("0.25"), 0)),
        ({"cost_usd": None, "usage": {"cost_usd": 0.5}}, JobCost(Decimal("0.5"), 0)),
        ({"cost_usd": 0}, JobCost(Decimal(0), 0)),
        ({"cost_usd": None, "usage": {"cost_usd": None}}, JobCost(Decimal(0), 1)),
        ({"cost_usd": "1"}, JobCost(Decimal(0), 1)),
        (None, JobCost(Decimal(0), 1)),
    ],
)
def test_cost_of_an_answer(record: object, cost: JobCost) -> None:
    """As the catalogue says, else as the provider states; else it is unknown."""
    assert job_cost(job(record)) == cost


def test_failed_calls_count() -> None:
    """Those whose cost is known, and those that may be billed; the one that answered counts once."""
    calls = (
        attempt(cost_usd=0.125, maybe_billed=True), attempt(maybe_billed=True), attempt(),
        attempt(None, cost_usd=1.0),
    )  # fmt: skip
    assert job_cost(job({"cost_usd": 1.0}, *calls)) == JobCost(Decimal("1.125"), 1)


def test_rating_counts() -> None:
    """It was answered, but is not the answer."""
    rating = attempt(None, cost_usd=0.25, maybe_billed=True)
    assert job_cost(job({"cost_usd": 1.0}, rating, attempt(None, cost_usd=1.0))) == JobCost(
        Decimal("1.25"), 0
    )
