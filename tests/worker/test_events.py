"""Telemetry events: every fact that is known, nothing of the content."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from shared.chat import parse_request
from shared.errors import (
    ChatqError,
    CredentialRejected,
    QuotaExhausted,
    RateLimited,
    UpstreamError,
    UpstreamUnavailable,
)
from shared.job import Candidate
from shared.store.grants import Grant, parse_hops
from shared.store.telemetry import read_entry
from shared.usage import NO_USAGE, Usage
from worker.costing import Cost
from worker.events import (
    ERROR_CLASSES,
    attempt_event,
    error_class,
    outcome_beside_attempt,
    outcome_event,
)
from worker.upstream import Answer
from worker.work import Work

SECRET = "the prompt nobody else may read"
USAGE: Usage = {
    "input_total": 7,
    "input_cached": 3,
    "input_cache_write": 1,
    "output_total": 5,
    "reasoning": 2,
    "cost_usd": 0.01,
}

COST = Cost(0.25, "computed")

WORK = Work(
    request=parse_request({"model": "auto", "messages": [{"role": "user", "content": SECRET}]}),
    candidates=(Candidate("ollama", "a"), Candidate("openrouter", "v/b"), Candidate("kimi", "c")),
    candidate=Candidate("openrouter", "v/b"),
    requested_model="auto",
    client="judge",
    source="nightly",
)


def grant(hops: str = "0@0 1@1", **fields: Any) -> Grant:
    return Grant(
        "id", "3-n", "openrouter.batch", b"", b"", 2, 3, None, 100.0, 101.5, 0, hops=parse_hops(hops)
    )._replace(**fields)


def answer(usage: Usage = USAGE) -> Answer:
    return Answer({"choices": [{"message": {"content": SECRET}}]}, usage, "stop", 0.25, None)


def attempt(**fields: Any) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(attempt_event(grant(), WORK, duration_s=0.5, **fields))
    return event


def test_attempt_says_where_it_went_and_what_it_took() -> None:
    """Model asked and model used, place in the order of preference, wait, times, tokens, cost and who says so."""
    event = attempt(answer=answer(), cost=COST)
    assert event == {
        "type": "attempt",
        "token": "3-n", "job": "id", "queue": "openrouter.batch", "lane": "batch", "client": "judge",
        "source": "nightly", "requested_model": "auto", "provider": "openrouter", "model": "v/b", "candidate": 1,
        "attempt": 2, "at": 101.5, "queue_wait_s": 1.5, "duration_s": 0.5, "ttfb_s": 0.25, "error": None,
        "error_class": None, "status": 200, "maybe_billed": True, **USAGE,
        "cost_usd": 0.25, "cost_source": "computed",
    }  # fmt: skip


def test_unknown_cost_is_null_and_says_why() -> None:
    """Never 0."""
    event = attempt(answer=answer(NO_USAGE), cost=Cost(None, "no_usage"))
    assert (event["cost_usd"], event["cost_source"]) == (None, "no_usage")


def test_call_that_cannot_be_billed_has_no_cost() -> None:
    event = attempt(error=RateLimited("slow down", status=429))
    assert (event["cost_usd"], event["cost_source"]) == (None, None)


def test_failed_attempt_says_what_was_counted() -> None:
    """A looping model is paid for."""
    error = UpstreamUnavailable("the model looped", maybe_billed=True)
    error.usage = USAGE
    event = attempt(error=error, cost=COST)
    assert (event["output_total"], event["cost_usd"]) == (5, 0.25)


def test_failed_attempt_says_why() -> None:
    """Code, class, status, and whether it may be billed all the same."""
    event = attempt(error=RateLimited("slow down", status=429, maybe_billed=True))
    assert (event["error"], event["error_class"], event["status"]) == ("rate_limited", "limited", 429)
    assert event["maybe_billed"]


def test_outcome_names_the_candidates_tried() -> None:
    """In the order of preference; an index that is none is passed over."""
    event = orjson.loads(outcome_event(grant("0@0 1@1 9@1"), WORK, "completed", None))
    assert event["tried"] == ["ollama/a", "openrouter/v/b"]
    assert (event["state"], event["attempts"], event["queue_wait_s"]) == ("completed", 2, 1.5)


def test_outcome_without_work_still_names_the_queue() -> None:
    """A payload that cannot be read has neither client nor model."""
    event = orjson.loads(outcome_event(grant(enqueued_at=None), None, "failed", ChatqError("broken")))
    assert (event["queue"], event["provider"], event["tried"]) == ("openrouter.batch", None, [])
    assert (event["error"], event["error_class"], event["queue_wait_s"]) == ("error", "internal", None)


@pytest.mark.parametrize("error", [None, RateLimited("slow down", status=429)])
def test_outcome_beside_its_call_reads_like_one_alone(error: RateLimited | None) -> None:
    """What it leaves out stands in the event of the call."""
    call = attempt_event(
        grant(), WORK, duration_s=0.5, answer=None if error else answer(NO_USAGE), error=error
    )
    alone = outcome_event(grant(), WORK, "ended", error)
    beside = outcome_beside_attempt(grant(), WORK, "ended")
    (read,) = read_entry("1-0", {b"outcome": alone})
    _, read_beside = read_entry("1-0", {b"attempt": call, b"outcome": beside})
    assert read_beside == read
    assert len(beside) < len(alone) / 2


def test_events_have_no_content() -> None:
    """Neither prompt nor answer."""
    events = attempt_event(grant(), WORK, duration_s=0.5, answer=answer())
    events += outcome_event(grant(), WORK, "completed", None)
    events += outcome_beside_attempt(grant(), WORK, "completed")
    assert SECRET.encode() not in events


def all_subclasses(of: type[ChatqError]) -> set[type[ChatqError]]:
    return {of}.union(*(all_subclasses(child) for child in of.__subclasses__()))


def test_every_upstream_error_has_a_class() -> None:
    """A new kind of error cannot be forgotten here."""
    assert all_subclasses(UpstreamError) == set(ERROR_CLASSES)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UpstreamUnavailable("down"), "retry"),
        (QuotaExhausted("spent"), "quota"),
        (CredentialRejected("key"), "credentials"),
        (UpstreamError("ours", code="drained"), "dropped"),
        (ChatqError("bug"), "internal"),
    ],
)
def test_error_class_says_who_acts(error: ChatqError, expected: str) -> None:
    assert error_class(error) == expected
