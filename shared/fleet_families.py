"""Prometheus names for what the fleet shows (prefix `chatq_`), and how a histogram is written.

Read from Redis, so these families are the same in every process that shows them: aggregate them with max. Labels
are provider, lane, scope (a provider, an account, or a model that has limits of its own) and fixed words: all
bounded by the configuration. Never a job, a client or a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from shared.histogram import Histogram
from shared.store.gauges import FleetGauges

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of Prometheus's text format."""

ENDS = ("completed", "failed", "cancelled", "expired")


def fleet_families(fleet: FleetGauges | None) -> Iterator[Metric]:
    """All families of the fleet; without gauges (no answer from Redis), `chatq_redis_up` 0 alone."""
    up = GaugeMetricFamily("chatq_redis_up", "Whether Redis answered this scrape.")
    up.add_metric([], float(fleet is not None))
    yield up
    if fleet is not None:
        yield from _queues(fleet)
        yield from _scopes(fleet)
        yield from _totals(fleet)


def histogram_family(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Histogram]]
) -> Metric:
    """Histograms of one name, by the values of their labels."""
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
