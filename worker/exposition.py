"""Prometheus names for what a worker measures (prefix `chatq_`), beside the fleet's (`shared/fleet_families.py`).

Labels are provider, scope (a provider, an account, or a model that has limits of its own) and fixed words: all
bounded by the configuration. Never a job, a client or a key. Aggregate over processes with sum.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.fleet_families import fleet_families, histogram_family
from shared.store.gauges import FleetGauges
from worker.metrics import WorkerMetrics


class Exposition(Collector):
    """One process's metrics, and the fleet's when Redis answered."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._fleet: FleetGauges | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, fleet: FleetGauges | None) -> bytes:
        """The text of `/metrics`. Without the fleet's gauges (no answer from Redis), `chatq_redis_up` is 0."""
        self._fleet = fleet
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """All families, as prometheus_client asks for them."""
        yield from fleet_families(self._fleet)
        yield from _calls(self._metrics)
        yield from _times(self._metrics)


def _calls(metrics: WorkerMetrics) -> Iterator[Metric]:
    attempts = CounterMetricFamily(
        "chatq_attempts", "Calls to providers, by how they ended.", labels=["provider", "outcome"]
    )
    limited = CounterMetricFamily(
        "chatq_upstream_limited",
        "Calls that a provider turned away by a rate limit (429).",
        labels=["provider"],
    )
    tokens = CounterMetricFamily(
        "chatq_tokens",
        "Tokens of answers, where the provider states them.",
        labels=["provider", "direction"],
    )
    cost = CounterMetricFamily("chatq_cost_usd", "Cost, as far as it is known.", labels=["provider"])
    unknown = CounterMetricFamily(
        "chatq_cost_unknown",
        "Calls that may be billed and whose cost nobody knows, by why.",
        labels=["provider", "reason"],
    )
    for name, calls in metrics.providers.items():
        for outcome, count in calls.outcomes.items():
            attempts.add_metric([name, outcome], count)
        limited.add_metric([name], calls.outcomes.get("limited", 0))
        tokens.add_metric([name, "input"], calls.input_tokens)
        tokens.add_metric([name, "output"], calls.output_tokens)
        cost.add_metric([name], calls.cost_usd)
        for reason, count in calls.cost_unknown.items():
            unknown.add_metric([name, reason], count)
    yield from (attempts, limited, tokens, cost, unknown)


def _times(metrics: WorkerMetrics) -> Iterator[Metric]:
    yield histogram_family(
        "chatq_call_seconds",
        "Duration of calls.",
        ["provider"],
        (((name,), calls.seconds) for name, calls in metrics.providers.items()),
    )
    yield histogram_family(
        "chatq_wait_seconds",
        "Time in the queue before a claim, by why, and whose limit or closure it was.",
        ["reason", "scope"],
        metrics.waits.items(),
    )
    yield histogram_family(
        "chatq_settle_lag_seconds",
        "From the end of an attempt until Redis has taken it.",
        [],
        [((), metrics.settling)],
    )
    yield histogram_family(
        "chatq_loop_lag_seconds", "How late the event loop wakes who sleeps.", [], [((), metrics.loop_lag)]
    )
