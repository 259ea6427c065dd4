"""What one worker process measures of itself: waits, calls, settling, its event loop. Plain counts, to be cheap.

`worker/exposition.py` gives them their Prometheus names. Nothing here knows a job, a client, a model or a key.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable

from shared.errors import ChatqError
from shared.histogram import Histogram
from shared.store.grants import Grant
from worker.costing import Cost
from worker.events import error_class
from worker.upstream import Answer

CALL_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
WAIT_BOUNDS_S = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
LAG_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)

LOOP_LOOK_S = 0.25
"""How often the lateness of the event loop is measured."""


class ProviderMetrics:
    """The calls to one provider."""

    __slots__ = ("cost_unknown", "cost_usd", "input_tokens", "outcomes", "output_tokens", "seconds")

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        """By `ok` or the class of the error."""
        self.seconds = Histogram(CALL_BOUNDS_S)
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_usd = 0.0
        """As far as it is known."""
        self.cost_unknown: defaultdict[str, int] = defaultdict(int)
        """Calls that may be billed and whose cost nobody knows, by why (`shared.catalogue.Basis`)."""


class WorkerMetrics:
    """What a worker process has measured since it started."""

    def __init__(self, providers: Iterable[str]) -> None:
        self.providers = {name: ProviderMetrics() for name in providers}
        self.waits: defaultdict[tuple[str, str], Histogram] = defaultdict(lambda: Histogram(WAIT_BOUNDS_S))
        """Time in the queue by `wait_reason`."""
        self.settling = Histogram(LAG_BOUNDS_S)
        """From the end of an attempt until the store has taken it."""
        self.loop_lag = Histogram(LAG_BOUNDS_S)

    def claimed(self, grant: Grant) -> None:
        """A job came out of its queue."""
        if grant.enqueued_at is not None:
            self.waits[wait_reason(grant)].add(max(0.0, grant.claimed_at - grant.enqueued_at))

    def called(
        self, provider: str, duration_s: float, answer: Answer | None, error: ChatqError | None, cost: Cost
    ) -> None:
        """A call ended: with an answer, an error, or neither (we dropped it)."""
        calls = self.providers[provider]
        calls.seconds.add(duration_s)
        calls.cost_usd += cost.usd or 0.0
        if cost.usd is None and cost.basis is not None:
            calls.cost_unknown[cost.basis] += 1
        if answer is None:
            calls.outcomes["dropped" if error is None else error_class(error)] += 1
            return
        calls.outcomes["ok"] += 1
        usage = answer.usage
        calls.input_tokens += usage["input_total"] or 0
        calls.output_tokens += usage["output_total"] or 0

    def settled(self, lag_s: float) -> None:
        """An attempt was settled so long after it ended."""
        self.settling.add(lag_s)

    async def watch_loop(self) -> None:
        """Measure, for ever, how late the event loop wakes who sleeps."""
        while True:
            due = time.monotonic() + LOOP_LOOK_S
            await asyncio.sleep(LOOP_LOOK_S)
            self.loop_lag.add(max(0.0, time.monotonic() - due))


def wait_reason(grant: Grant) -> tuple[str, str]:
    """Why a job had to wait before this claim, and whose limit or closure it was ('' = nobody's).

    A closure or a limit that held it back (`WaitReason`'s words); else, as far as its counts tell, `rescued`
    (its worker died), `failover` (its first call there), `rate_limited` or `backoff` (its last call failed);
    else `ready`: it waited for a worker or for the jobs before it.
    """
    hops = grant.hops
    if grant.held_by is not None:
        return grant.held_by.reason.value, grant.held_by.scope
    if grant.abandoned:
        return "rescued", ""
    if len(hops.visited) > 1 and grant.attempts - hops.attempts_before <= 1:
        return "failover", ""
    if grant.rate_limit_waits:
        return "rate_limited", ""
    return ("backoff" if grant.attempts > 1 else "ready"), ""
