"""Adding a run up before it is made."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from producer.batch.estimate import Call, Estimate
from producer.batch.forecast import (
    MAX_EXAMPLES,
    Ceiling,
    Forecast,
    Load,
    Pace,
    note_recorded,
    slowest,
    together,
)
from producer.batch.ledger import Ledger
from producer.batch.line_cost import NOTHING
from producer.batch.output import OutputFiles, Paths
from producer.batch.reader import BadLine
from producer.batch.record import BUDGET_REACHED, bad_line_record, job_record
from producer.batch.tally import MAX_ROWS, RowKey
from shared.job import Candidate, JobState

from .memory_client import job

RUN = "0123456789abcdef"


def estimate(model: str = "m", *, is_priced: bool = True, duration_s: float | None = 2.0) -> Estimate:
    cost = (Decimal(1), Decimal(3)) if is_priced else None
    return Estimate((Call(Candidate("p", model), 10, (5, 20), cost, duration_s),), cost)


def test_lines_add_up_by_model() -> None:
    """Ranges by their ends; a line without a price is counted, not taken for nothing."""
    forecast = Forecast()
    for found in (estimate(), estimate(), estimate(is_priced=False), estimate("n")):
        forecast.add("asked", found)
    share = forecast.rows[RowKey("asked", "p", "m")]
    assert (share.lines, share.input_tokens, share.output_tokens) == (3, 30, (15, 60))
    assert (share.cost_usd, share.cost_unknown) == ((2, 6), 1)
    total = forecast.total()
    assert (total.lines, total.cost_usd, total.cost_unknown) == (4, (3, 9), 1)


def test_names_and_examples_are_bounded() -> None:
    """A file may name thousands of models, and be wrong on every line."""
    forecast = Forecast()
    for number in range(MAX_ROWS + 5):
        forecast.add(f"m{number}", estimate())
        forecast.add_bad(BadLine(number, "x", "invalid", "y"))
    assert (len(forecast.rows), forecast.total().lines) == (MAX_ROWS + 1, MAX_ROWS + 5)
    assert (len(forecast.examples), forecast.errors["invalid"]) == (MAX_EXAMPLES, MAX_ROWS + 5)


def load(calls: int = 120, **fields: object) -> dict[str, Load]:
    return {"account:a": Load(calls, (6000, 12_000), 60.0, **fields)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ceiling", "pace"),
    [
        (Ceiling(), None),
        (Ceiling(rpm=60), Pace((120, 120), "account:a", "60 rpm")),
        (Ceiling(tpm=6000), Pace((60, 120), "account:a", "6,000 tpm")),
        (Ceiling(concurrency=4), Pace((15, 15), "account:a", "4 calls at a time")),
        (Ceiling(rpm=60, tpm=60_000, concurrency=4), Pace((120, 120), "account:a", "60 rpm")),
    ],
)
def test_time_follows_from_the_slowest_limit(ceiling: Ceiling, pace: Pace | None) -> None:
    assert slowest(load(), {"account:a": ceiling}) == pace


def test_calls_that_nobody_timed_tell_no_time() -> None:
    """How many run at a time says nothing then."""
    assert slowest(load(is_timed=False), {"account:a": Ceiling(concurrency=4)}) is None


def test_slowest_scope_decides() -> None:
    loads = {**load(), "client:c": Load(120, (0, 0), 0.0, False)}
    pace = slowest(loads, {"account:a": Ceiling(rpm=600), "client:c": Ceiling(rpm=60)})
    assert pace is not None
    assert pace.scope == "client:c"


def test_loads_of_a_scope_are_added() -> None:
    """What is not timed makes the whole untimed."""
    forecast = Forecast()
    for found in (estimate(), estimate("n"), estimate("o", duration_s=None)):
        forecast.add("asked", found)
    timed = [forecast.loads[Candidate("p", name)] for name in ("m", "n")]
    assert together(timed) == Load(2, (30, 60), 4.0, True)
    assert not together(forecast.loads.values()).is_timed


@pytest.fixture
def files(tmp_path: Path) -> OutputFiles:
    return OutputFiles(Paths(tmp_path / "out.jsonl"), is_mending=False)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.close()


@pytest.mark.parametrize(("is_retry", "count"), [(False, 2), (True, 1)])
def test_recorded_lines_are_not_asked_again(
    files: OutputFiles, ledger: Ledger, is_retry: bool, count: int
) -> None:
    """Failed ones by choice; those left out for want of money always are. Nothing is written meanwhile."""
    answer = job_record(RUN, 1, "a", job("j", JobState.COMPLETED, response={"x": 1}), NOTHING)
    failures = [
        bad_line_record(RUN, BadLine(n, "b", code, "")) for n, code in ((2, "x"), (3, BUDGET_REACHED))
    ]
    files.append([answer, answer[:40]], failures)
    files.close()
    before = files.paths.output.read_bytes()
    assert note_recorded(ledger, files, is_retry=is_retry) == count
    assert ledger.recorded_hash(3) is None
    assert files.paths.output.read_bytes() == before
