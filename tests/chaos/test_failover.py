"""A provider goes down hard in the middle of 5,000 jobs; later it comes back."""

from __future__ import annotations

import time

from tests.chaos.checker import check
from tests.chaos.lab import PRIMARY, SECONDARY, Lab
from tests.chaos.load import Load


async def test_primary_down_hard_in_the_middle_of_5000_jobs(lab: Lab) -> None:
    """All complete on the secondary, no loops, calls ≤ attempts. Back again: probes only, then a ramp."""
    primary = lab.upstreams[PRIMARY]
    await lab.start_all(["sent:0", "sent:0"], "--concurrency", "150")
    await lab.submit(Load(jobs=5_000, fallback_share=1.0))
    await lab.until_ended(1_500)
    await primary.close_port()
    lab.note("primary down")
    assert await lab.collect(timeout_s=40)
    await primary.open_port()
    back_at, before = time.time(), lab.calls(PRIMARY)
    await lab.submit(Load(jobs=1_500, name="after"))
    assert await lab.collect(timeout_s=30)
    evidence = await lab.evidence()
    check(evidence)
    returned = sorted(c.arrived_at for c in primary.calls[before:] if c.arrived_at > back_at)
    assert max(len(job.get("cq_hops", "").split()) for job in evidence.snapshot.jobs.values()) <= 2
    assert lab.calls(SECONDARY) + before <= 5_000 + 600
    # Probes: at most three calls at once until three were good; then a tenth of what there was.
    first = [c for c in primary.calls if c.arrived_at in returned[:3]]
    assert returned[3] >= min(c.arrived_at + (c.ended_s - (c.started_s or 0)) for c in first) - 0.01
