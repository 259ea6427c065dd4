"""The tally: counts, tokens, cost that may be unknown."""

from __future__ import annotations

from typing import Any

from producer.batch import Tally
from producer.batch.line_cost import cost_of
from producer.batch.tally import MAX_ROWS
from producer.job_cost import job_cost
from shared.job import Candidate, Job, JobError, JobState
from shared.usage import NO_USAGE

from .memory_client import job


def answered(model: str = "m", **usage: Any) -> Job:
    full = {**NO_USAGE, "input_total": 2, "output_total": 3, **usage}
    chatq = {"provider": "openrouter", "upstream_model": "v/m", "usage": full}
    return Job(
        id="j", state=JobState.COMPLETED, lane="batch", queue="q", requested_model=model,
        candidate=Candidate("openrouter", "v/m"), attempts=1, created_at=0.0, response={"chatq": chatq},
    )  # fmt: skip


def add(tally: Tally, job_: Job) -> None:
    tally.add_job(job_, cost_of(job_cost(job_)))


def test_tokens_and_cost_add_up_by_model() -> None:
    """Unknown cost is counted, not taken for nothing."""
    tally = Tally()
    for job_ in (answered(cost_usd=0.25), answered(cost_usd=0.5), answered(input_total=None)):
        add(tally, job_)
    (row,) = tally.summary()["models"]
    assert row == {
        "model": "m", "provider": "openrouter", "upstream_model": "v/m", "done": 3, "failed": 0,
        "input_tokens": 4, "output_tokens": 9, "cost_usd": 0.75, "cost_unknown": 1,
    }  # fmt: skip


def test_cost_nobody_states_is_null() -> None:
    """Never 0."""
    tally = Tally()
    add(tally, answered())
    assert tally.summary()["cost_usd"] is None


def test_failures_are_counted_by_code() -> None:
    """Jobs and bad lines alike, the most frequent first."""
    tally = Tally()
    tally.add_bad_line("invalid_json_line")
    for _ in range(2):
        add(tally, job("j", JobState.FAILED, error=JobError("connect_failed", "x")))
    summary = tally.summary()
    assert list(summary["errors"].items()) == [("connect_failed", 2), ("invalid_json_line", 1)]
    assert (summary["done"], summary["failed"]) == (0, 3)


def test_remaining_counts_what_was_before() -> None:
    """Recorded earlier, recorded now, and the rest; unknown without a total."""
    tally = Tally(recorded_before=4)
    assert tally.remaining is None
    tally.total = 10
    add(tally, answered())
    assert tally.remaining == 5


def test_thousands_of_models_share_a_row() -> None:
    """Memory and table stay small whatever the file names."""
    tally = Tally()
    for number in range(MAX_ROWS + 50):
        add(tally, answered(f"m{number}"))
    assert len(tally.rows) == MAX_ROWS + 1
    assert tally.done == MAX_ROWS + 50
