"""Prometheus names for what a worker measures and for what the fleet shows (prefix `chatq_`).

Labels are provider, lane, scope (a provider, an account, or a model that has limits of its own) and fixed words:
all bounded by the configuration. Never a job, a client or a key.

Families of the fleet (`FleetGauges`) are read from Redis and the same in every process: aggregate them with max,
the others with sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.store.gauges import FleetGauges
from worker.metrics import Histogram, WorkerMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

ENDS = ("completed", "failed", "cancelled", "expired")


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
        up = GaugeMetricFamily("chatq_redis_up", "Whether Redis answered this scrape.")
        up.add_metric([], float(self._fleet is not None))
        yield up
        yield from _calls(self._metrics)
        yield from _times(self._metrics)
        if self._fleet is not None:
            yield from _queues(self._fleet)
            yield from _scopes(self._fleet)
            yield from _totals(self._fleet)


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
    yield _histogram(
        "chatq_call_seconds",
        "Duration of calls.",
        ["provider"],
        (((name,), calls.seconds) for name, calls in metrics.providers.items()),
    )
    yield _histogram(
        "chatq_wait_seconds",
        "Time in the queue before a claim, by why, and whose limit or closure it was.",
        ["reason", "scope"],
        metrics.waits.items(),
    )
    yield _histogram(
        "chatq_settle_lag_seconds",
        "From the end of an attempt until Redis has taken it.",
        [],
        [((), metrics.settling)],
    )
    yield _histogram(
        "chatq_loop_lag_seconds", "How late the event loop wakes who sleeps.", [], [((), metrics.loop_lag)]
    )


def _histogram(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Histogram]]
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in rows:
        bounds = [*map(str, histogram.bounds_s), "+Inf"]
        buckets = list(zip(bounds, accumulate(map(float, histogram.counts)), strict=True))
        family.add_metric(list(values), buckets, histogram.total_s)
    return family


def _queues(fleet: FleetGauges) -> Iterator[Metric]:
    depth = GaugeMetricFamily(
        "chatq_queue_depth", "Jobs that wait for a worker, a slot or a limit.", labels=["provider", "lane"]
    )
    delayed = GaugeMetricFamily(
        "chatq_queue_delayed", "Jobs that wait out a backoff.", labels=["provider", "lane"]
    )
    oldest = GaugeMetricFamily(
        "chatq_queue_oldest_age_seconds",
        "Age of the job that waits in front.",
        labels=["provider", "lane"],
    )
    for lane in fleet.lanes:
        labels = [lane.provider, lane.lane]
        depth.add_metric(labels, lane.waiting)
        delayed.add_metric(labels, lane.delayed)
        oldest.add_metric(labels, lane.oldest_age_s)
    quarantine = GaugeMetricFamily(
        "chatq_quarantine_depth", "Jobs whose workers died again and again, waiting.", labels=["provider"]
    )
    in_flight = GaugeMetricFamily("chatq_in_flight", "Jobs that run, over all workers.", labels=["provider"])
    for name, provider in fleet.providers.items():
        quarantine.add_metric([name], provider.in_quarantine)
        in_flight.add_metric([name], provider.in_flight)
    yield from (depth, delayed, oldest, quarantine, in_flight)


def _scopes(fleet: FleetGauges) -> Iterator[Metric]:
    breaker = GaugeMetricFamily(
        "chatq_breaker_state", "0 closed, 1 letting some calls through, 2 open.", labels=["scope"]
    )
    use = GaugeMetricFamily(
        "chatq_ledger_use",
        "Share of what a limit allows now that is taken, 0 to 1.",
        labels=["scope", "dimension"],
    )
    for scope in fleet.scopes:
        breaker.add_metric([scope.name], scope.breaker)
        for dimension, ratio in scope.use.items():
            use.add_metric([scope.name, dimension], ratio)
    yield from (breaker, use)


def _totals(fleet: FleetGauges) -> Iterator[Metric]:
    totals = fleet.totals
    jobs = CounterMetricFamily("chatq_jobs", "Jobs that ended, by state.", labels=["state"])
    for state in ENDS:
        jobs.add_metric([state], totals.get(state, 0))
    yield jobs
    yield CounterMetricFamily("chatq_jobs_accepted", "Jobs accepted.", value=totals.get("accepted", 0))
    yield CounterMetricFamily(
        "chatq_lease_expired", "Jobs taken back after their lease ran out.", value=totals.get("abandoned", 0)
    )
    yield CounterMetricFamily(
        "chatq_duplicate_calls",
        "Calls whose job had ended or run elsewhere when they ended (stale, salvaged).",
        value=totals.get("stale", 0) + totals.get("salvaged", 0),
    )
