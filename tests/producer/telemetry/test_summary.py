"""Adding events up."""

from __future__ import annotations

from typing import Any

import pytest

from producer.telemetry import Summary
from producer.telemetry.summary import MAX_CODES, MAX_ROWS, OTHERS
from shared.store.telemetry import Event


def attempt(**fields: Any) -> Event:
    return Event(
        0.0,
        "attempt",
        {"provider": "p", "model": "m", "attempt": 1, "error": None, "maybe_billed": True, **fields},
    )


def summed(*events: Event) -> dict[str, Any]:
    summary = Summary()
    summary.add(events)
    return summary.as_dict()


def only_row(*events: Event) -> dict[str, Any]:
    (row,) = summed(*events)["calls"]
    found: dict[str, Any] = row
    return found


def test_calls_are_kept_apart_by_model() -> None:
    """Most calls first."""
    rows = summed(attempt(), attempt(model="n"), attempt(model="n"))["calls"]
    assert [(row["provider"], row["model"], row["calls"]) for row in rows] == [("p", "n", 2), ("p", "m", 1)]


def test_failures_are_counted_by_code() -> None:
    """Limits, later attempts and later candidates each have a count of their own."""
    row = only_row(
        attempt(),
        attempt(error="rate_limited", error_class="limited", maybe_billed=False),
        attempt(error="server_error", error_class="retry", attempt=2, candidate=1),
        attempt(error="server_error", error_class="retry", attempt=3, candidate=1, maybe_billed=False),
    )
    assert (row["calls"], row["ok"], row["failed"]) == (4, 1, 3)
    assert row["errors"] == {"server_error": 2, "rate_limited": 1}
    assert (row["limited"], row["retries"], row["failovers"], row["failed_maybe_billed"]) == (1, 2, 2, 1)


def test_cost_is_known_or_counted() -> None:
    """Unknown is not 0, and a call that cannot be billed has no cost to be known."""
    row = only_row(attempt(cost_usd=0.5), attempt(), attempt(error="x", maybe_billed=False))
    assert (row["cost_usd"], row["cost_unknown"]) == (0.5, 1)
    assert only_row(attempt())["cost_usd"] is None


def test_tokens_and_times_are_added_up() -> None:
    row = only_row(*(attempt(input_total=2, output_total=3, reasoning=1, duration_s=n) for n in (1, 2, 3)))
    assert (row["input_tokens"], row["output_tokens"], row["reasoning_tokens"]) == (6, 9, 3)
    assert row["duration_s"]["p50"] == pytest.approx(2, rel=0.011)
    assert row["ttfb_s"]["p95"] is None


def test_outcomes_are_counted_by_state() -> None:
    """Also of a job that a script ended, which has no more fields."""
    events = [Event(0.0, "outcome", {"state": state}) for state in ("completed", "expired", "completed")]
    assert summed(*events)["outcomes"] == {"completed": 2, "expired": 1}


def test_call_without_a_provider_counts_at_its_queue() -> None:
    row = only_row(Event(0.0, "attempt", {"queue": "p.q.batch", "error": "worker_lost"}))
    assert (row["provider"], row["model"]) == ("p.q", "?")


@pytest.mark.parametrize("value", [True, -1, "12", None, [], {}, float("inf"), float("nan"), 1e30])
def test_number_of_another_kind_is_passed_over(value: object) -> None:
    """Events are untrusted."""
    row = only_row(
        attempt(duration_s=value, input_total=value, cost_usd=value, attempt=value, candidate=value)
    )
    assert (row["calls"], row["input_tokens"], row["cost_usd"], row["retries"]) == (1, 0, None, 0)
    assert row["duration_s"]["p50"] is None


def test_word_of_another_kind_is_passed_over() -> None:
    row = only_row(attempt(provider=7, model={"a": 1}, error=["x"]))
    assert (row["provider"], row["model"], row["errors"]) == ("?", "?", {"?": 1})


def test_rows_and_codes_are_bounded() -> None:
    """Names come with jobs: past a number they are counted together."""
    found = summed(*(attempt(model=str(n), error=None) for n in range(MAX_ROWS + 5)))
    assert len(found["calls"]) == MAX_ROWS + 1
    assert found["calls"][0]["calls"] == 5
    row = only_row(*(attempt(error=str(n)) for n in range(MAX_CODES + 5)))
    assert (len(row["errors"]), row["errors"][OTHERS]) == (MAX_CODES + 1, 5)
