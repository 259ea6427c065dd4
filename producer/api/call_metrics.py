"""What one API process measures of its calls, and what it shows of the fleet beside that."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.errors import StoreError
from shared.fleet_families import fleet_families, histogram_family
from shared.histogram import Histogram
from shared.providers import Provider
from shared.store.connect import Store
from shared.store.gauges import FleetGauges, read_gauges

log = logging.getLogger(__name__)

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0)

CACHE_S = 1.0
"""How long the fleet's gauges are good for: several scrapers cost Redis one reading."""

NO_OPERATION = "none"
"""For calls of what does not exist; their paths come from callers, so there is no end to them."""


class CallMetrics(Collector):
    """What one API process has measured since it started. Labels are operations and statuses, never a caller."""

    def __init__(self) -> None:
        self.waiting: Counter[str] = Counter()
        """Calls whose answer has not begun, by operation: held ones and long polls stay here."""
        self.answering: Counter[str] = Counter()
        """Calls whose answer has begun and not ended: streams stay here."""
        self._ended: Counter[tuple[str, str]] = Counter()
        self._seconds: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(BOUNDS_S))
        self._fleet: FleetGauges | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def ended(self, operation: str, status: int, seconds: float) -> None:
        """Count a call; status 0: it ended without an answer, for the caller had gone."""
        self._ended[operation, str(status)] += 1
        self._seconds[operation].add(seconds)

    def render(self, fleet: FleetGauges | None) -> bytes:
        """The text of `/metrics`. Without the fleet's gauges (no answer from Redis), `chatq_redis_up` is 0."""
        self._fleet = fleet
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """All families, as prometheus_client asks for them."""
        yield from fleet_families(self._fleet)
        calls = CounterMetricFamily("chatq_api_requests", "Calls that ended.", labels=["operation", "status"])
        for labels, count in self._ended.items():
            calls.add_metric(labels, count)
        yield calls
        yield histogram_family(
            "chatq_api_request_seconds",
            "Duration of calls, waits and streams included.",
            ["operation"],
            (((operation,), seconds) for operation, seconds in self._seconds.items()),
        )
        yield _gauge("chatq_api_waiting", "Calls whose answer has not begun.", self.waiting)
        yield _gauge("chatq_api_answering", "Calls whose answer has begun and not ended.", self.answering)


class FleetReader:
    """The fleet's gauges, a second old at most."""

    def __init__(self, store: Store, providers: Mapping[str, Provider]) -> None:
        self._store = store
        self._providers = providers
        self._fleet: FleetGauges | None = None
        self._read_at = -CACHE_S
        self._reading = asyncio.Lock()

    async def read(self) -> FleetGauges | None:
        """The gauges; None without an answer from Redis."""
        async with self._reading:
            if time.monotonic() - self._read_at >= CACHE_S:
                try:
                    self._fleet = await read_gauges(self._store, self._providers)
                except StoreError as exc:
                    log.warning("metrics: the fleet's part waits for Redis: %s", exc)
                    self._fleet = None
                self._read_at = time.monotonic()
            return self._fleet


def _gauge(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["operation"])
    for operation, count in counts.items():
        family.add_metric([operation], count)
    return family
