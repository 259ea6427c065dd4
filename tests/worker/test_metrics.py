"""What a worker counts of itself, and the names Prometheus reads it under."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.errors import RateLimited, UpstreamUnavailable
from shared.job import WaitReason
from shared.store.gauges import FleetGauges, LaneGauges, ProviderGauges, ScopeGauges
from shared.store.grants import Grant, Held, parse_hops
from shared.usage import NO_USAGE, Usage
from worker.costing import NOTHING_TO_PAY, Cost
from worker.exposition import Exposition
from worker.metrics import Histogram, WorkerMetrics, wait_reason
from worker.upstream import Answer

USAGE: Usage = {
    "input_total": 7,
    "input_cached": None,
    "input_cache_write": None,
    "output_total": 5,
    "reasoning": None,
    "cost_usd": 0.25,
}

KNOWN, UNKNOWN = Cost(0.25, "computed"), Cost(None, "no_usage")

GRANT = Grant("id", "1-n", "ollama.default", b"", b"", 1, 3, None, 100.0, 100.2, 0)

FLEET = FleetGauges(
    [LaneGauges("ollama", "batch", 3, 1, 12.5)],
    {"ollama": ProviderGauges(2, 1)},
    [ScopeGauges('model:ollama/a"b', 2, {"requests": 0.5})],
    {"accepted": 9, "completed": 4, "abandoned": 2, "stale": 1, "salvaged": 1},
)


def answer(usage: Usage = USAGE) -> Answer:
    return Answer({}, usage, "stop", 0.1, None)


def samples(metrics: WorkerMetrics, fleet: FleetGauges | None = FLEET) -> dict[tuple[str, ...], float]:
    """By name and label values, sorted by label name."""
    text = Exposition(metrics).render(fleet).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_histogram_counts_at_and_below_a_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.1, 0.2, 5.0):
        histogram.add(seconds)
    assert (histogram.counts, histogram.total_s) == ([1, 1, 1], pytest.approx(5.3))


def test_calls_are_counted_by_how_they_ended() -> None:
    """An answer, an error of a class, a call that we dropped."""
    metrics = WorkerMetrics(["ollama"])
    metrics.called("ollama", 0.5, answer(), None, KNOWN)
    metrics.called("ollama", 0.5, None, RateLimited("slow down"), NOTHING_TO_PAY)
    metrics.called("ollama", 0.5, None, None, UNKNOWN)
    found = samples(metrics)
    assert found["chatq_attempts_total", "ok", "ollama"] == 1
    assert found["chatq_attempts_total", "limited", "ollama"] == 1
    assert found["chatq_attempts_total", "dropped", "ollama"] == 1
    assert found["chatq_upstream_limited_total", "ollama"] == 1
    assert found["chatq_call_seconds_count", "ollama"] == 3
    assert found["chatq_call_seconds_bucket", "0.25", "ollama"] == 0
    assert found["chatq_call_seconds_bucket", "0.5", "ollama"] == 3


def test_cost_is_summed_or_counted_as_unknown() -> None:
    """By why it is; a call that cannot be billed is neither."""
    metrics = WorkerMetrics(["ollama"])
    metrics.called("ollama", 0.5, answer(), None, KNOWN)
    metrics.called("ollama", 0.5, answer(NO_USAGE), None, UNKNOWN)
    metrics.called("ollama", 0.5, None, UpstreamUnavailable("cut off", maybe_billed=True), UNKNOWN)
    metrics.called("ollama", 0.5, None, UpstreamUnavailable("no connection"), NOTHING_TO_PAY)
    found = samples(metrics)
    assert found["chatq_cost_usd_total", "ollama"] == 0.25
    assert found["chatq_cost_unknown_total", "ollama", "no_usage"] == 2
    assert found["chatq_tokens_total", "output", "ollama"] == 5


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, ("ready", "")),
        ({"attempts": 2}, ("backoff", "")),
        ({"rate_limit_waits": 1}, ("rate_limited", "")),
        ({"attempts": 2, "hops": parse_hops("0@0 1@1")}, ("failover", "")),
        ({"attempts": 3, "hops": parse_hops("0@0 1@1")}, ("backoff", "")),
        ({"attempts": 2, "abandoned": 1}, ("rescued", "")),
        ({"attempts": 2, "held_by": Held("model", WaitReason.CONCURRENCY)}, ("concurrency", "model")),
    ],
)
def test_wait_has_a_reason(fields: dict[str, object], reason: tuple[str, str]) -> None:
    assert wait_reason(GRANT._replace(**fields)) == reason


def test_waits_are_timed_on_redis_clock() -> None:
    """From when the job was last ready; a job of plain RQ may not say when."""
    metrics = WorkerMetrics(["ollama"])
    metrics.claimed(GRANT)
    metrics.claimed(GRANT._replace(enqueued_at=None))
    found = samples(metrics)
    assert found["chatq_wait_seconds_count", "ready", ""] == 1
    assert found["chatq_wait_seconds_sum", "ready", ""] == pytest.approx(0.2)


async def test_loop_lag_is_measured() -> None:
    """A blocked event loop shows."""
    metrics = WorkerMetrics([])
    watching = asyncio.create_task(metrics.watch_loop())
    async with asyncio.timeout(5):
        while not sum(metrics.loop_lag.counts):
            await asyncio.sleep(0.01)
    watching.cancel()
    assert samples(metrics)["chatq_loop_lag_seconds_count",] >= 1


def test_fleet_is_shown() -> None:
    """Queues, running jobs, breakers, limits, totals."""
    found = samples(WorkerMetrics([]))
    assert found["chatq_redis_up",] == 1
    assert found["chatq_queue_depth", "batch", "ollama"] == 3
    assert found["chatq_queue_oldest_age_seconds", "batch", "ollama"] == 12.5
    assert found["chatq_in_flight", "ollama"] == 2
    assert found["chatq_breaker_state", 'model:ollama/a"b'] == 2
    assert found["chatq_ledger_use", "requests", 'model:ollama/a"b'] == 0.5
    assert found["chatq_jobs_total", "completed"] == 4
    assert found["chatq_lease_expired_total",] == 2
    assert found["chatq_duplicate_calls_total",] == 2


def test_worker_is_shown_without_redis() -> None:
    """What the process measured itself does not depend on it."""
    metrics = WorkerMetrics(["ollama"])
    metrics.settled(0.002)
    found = samples(metrics, None)
    assert found["chatq_redis_up",] == 0
    assert found["chatq_settle_lag_seconds_count",] == 1
    assert not any(name.startswith("chatq_queue") for name, *_ in found)
