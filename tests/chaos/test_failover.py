"""A provider goes down hard in the middle of 5,000 jobs; later it comes back."""

from __future__ import annotations

import time

from tests.chaos.checker import check
from tests.chaos.lab import PRIMARY, SECONDARY, TICK_S, Lab
from tests.chaos.load import Load
from tests.support import wait_until


async def test_primary_down_hard_in_the_middle_of_5000_jobs(lab: Lab) -> None:
    """All complete on the secondary, no loops, calls ≤ attempts. Back again: probes only, then a ramp."""
    primary = lab.upstreams[PRIMARY]
    await lab.start_all(["sent:0", "sent:0"], "--concurrency", "150")
    await lab.submit(Load(jobs=5_000, fallback_share=1.0))
    await wait_until(lambda: lab.calls(PRIMARY) >= 1_500)  # what is collected may be far behind that
    await primary.close_port()
    lab.note("primary down")
    assert await lab.collect(timeout_s=40)
    usual = primary.config.latency
    primary.set(latency="fixed:0.3")  # long beside what may hold up the upstream's loop
    await primary.open_port()
    back_at, before = time.time(), lab.calls(PRIMARY)
    await lab.submit(Load(jobs=1_500, name="after"))
    await wait_until(lambda: lab.calls(PRIMARY) >= before + 3)
    primary.set(latency=usual)
    assert await lab.collect(timeout_s=30)
    evidence = await lab.evidence()
    check(evidence)
    returned = sorted(c.arrived_at for c in primary.calls[before:] if c.arrived_at > back_at)
    assert max(len(job.get("cq_hops", "").split()) for job in evidence.snapshot.jobs.values()) <= 2
    assert lab.calls(SECONDARY) + before <= 5_000 + 600
    # Probes: at most three calls at once until three were good; then a tenth of what there was.
    first = [c for c in primary.calls if c.arrived_at in returned[:3]]
    ended_at = min(c.arrived_at + (c.ended_s - (c.started_s or 0)) for c in first)
    delays = [d for d in lab.declared.delays if d.since < ended_at and d.until > returned[3]]
    assert returned[3] >= ended_at - 2 * TICK_S - sum(d.until - d.since for d in delays)
