"""Workers die, stand still or are told to go, at every step: nothing is lost, nothing ends twice."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.chaos.checker import check, recovery_times
from tests.chaos.lab import PRIMARY, Lab
from tests.chaos.load import Load
from tests.support import ended, wait_until


@dataclass(frozen=True)
class Step:
    """What is left of one job when its worker dies at a step: calls in all, and abandonments.

    `sent` is 5 ms after the call was begun: it may or may not have reached the upstream.
    """

    name: str
    calls: set[int]
    abandoned: int


STEPS = (
    Step("claimed", {1}, 1),
    Step("opened", {1}, 1),
    Step("sent", {1, 2}, 1),
    Step("reading", {2}, 1),
    Step("answered", {2}, 1),
    Step("finalize_sent", {1}, 0),
)


async def test_each_step_leaves_what_it_may(lab: Lab) -> None:
    """F1–F4: six workers with a single job each die at a step each; a healthy one comes later."""
    lab.upstreams[PRIMARY].set(latency="fixed:0.1")
    await lab.submit(Load(jobs=len(STEPS)))
    bombs = [
        await lab.start("--concurrency", "1", ready=False, CHAOS_FAILPOINT=f"{step.name}:1") for step in STEPS
    ]
    for bomb, step in zip(bombs, STEPS, strict=True):
        await lab.died(bomb, step.name)
    victims = {
        pid: job_id
        for job_id in lab.asks
        for pid in [int((lab.raw.hget(f"rq:job:{job_id}", "worker_name") or "-0-").split("-")[-2])]
    }
    await lab.start()
    assert await lab.collect()
    evidence = await lab.evidence()
    check(evidence)
    calls = Counter(call.job for call in evidence.all_calls())
    found = {}
    for bomb, step in zip(bombs, STEPS, strict=True):
        job = victims[bomb.pid]
        found[step.name] = (calls[job], int(evidence.snapshot.jobs[job].get("cq_abandoned") or 0))
    assert all(
        found[step.name][0] in step.calls and found[step.name][1] == step.abandoned for step in STEPS
    ), found


async def test_all_workers_killed_with_their_hands_full(lab: Lab) -> None:
    """F1–F4, F6: five workers die with hundreds of jobs in hand, and only then comes another."""
    lab.declared.failures |= {"worker_lost"}
    points = ("claimed:4", "sent:250", "reading:150", "answered:200", "finalize_sent:5")
    bombs = await lab.start_all(points, "--concurrency", "200")
    await lab.submit(Load(jobs=2_000, once_share=0.05))
    for bomb, point in zip(bombs, points, strict=True):
        await lab.died(bomb, point)
    await lab.start()
    assert await lab.collect()
    evidence = await lab.evidence()
    check(evidence)
    assert max(recovery_times(evidence)) < 8


async def test_background_steps_leave_old_or_new(lab: Lab) -> None:
    """F5: death during renewal, release, promotion and rescue."""
    lab.upstreams[PRIMARY].set(faults={"503": 0.3}, fault_first=1)
    lab.declared.failures |= {"poison"}
    points = ("renewed:4", "released:2", "promoted:2", "rescued:1")
    bombs = await lab.start_all(points, "--concurrency", "40")
    feeding = lab.background(lab.feed(Load(jobs=100)))
    for bomb, point in zip(bombs, points, strict=True):
        await lab.died(bomb, point)
    feeding.cancel()
    await asyncio.wait([feeding])
    await lab.start()
    assert await lab.collect()
    check(await lab.evidence())


async def test_paused_worker_changes_nothing_late(lab: Lab) -> None:
    """F7: a worker stands still for longer than its leases, and wakes up with answers nobody waits for."""
    lab.upstreams[PRIMARY].set(latency="fixed:1")
    await lab.submit(Load(jobs=600))
    sleeper = await lab.start()
    await wait_until(lambda: lab.in_flight() >= 200)
    lab.stop(sleeper)
    lab.upstreams[PRIMARY].set(latency="fixed:0.4")
    await lab.start()
    try:
        assert await lab.collect()
    finally:
        sleeper.send_signal(signal.SIGCONT)
    await wait_until(lambda: lab.total("stale") > 0)
    check(await lab.evidence())


@pytest.mark.parametrize("signals", [1, 2])
async def test_told_to_stop_it_gives_back_what_it_cannot_finish(lab: Lab, signals: int) -> None:
    """F8: no new claims, running calls get the grace period, the rest goes back without a spent attempt."""
    lab.upstreams[PRIMARY].set(latency="uniform:0.1,2")
    await lab.submit(Load(jobs=300))
    leaver = await lab.start("--concurrency", "150", CHATQ_WORKER__GRACE_S="0.5" if signals == 1 else "60")
    await wait_until(lambda: lab.in_flight() >= 150)
    for _ in range(signals):
        leaver.terminate()
        await asyncio.sleep(0.05)
    assert await ended(leaver) == 0
    drained = lab.total("drain")
    lab.upstreams[PRIMARY].set(latency="fixed:0.02")
    await lab.start()
    assert await lab.collect()
    evidence = await lab.evidence()
    check(evidence)
    jobs = evidence.snapshot.jobs.values()
    assert drained > 0
    assert {job["cq_attempts"] for job in jobs} == {"1"}


async def test_blocked_event_loop_keeps_its_leases(lab: Lab) -> None:
    """F9: the heartbeat has a thread of its own: nobody takes over what a busy worker still holds.

    The block is longer than a lease; at twice a lease the heartbeat would leave the jobs to others.
    """
    lab.upstreams[PRIMARY].set(latency="fixed:0.3")
    await lab.start("--providers", "openrouter")
    await lab.start("--concurrency", "80", CHAOS_FAILPOINT="sent:80:block=2.4")
    await lab.submit(Load(jobs=80))
    assert await lab.collect()
    check(await lab.evidence())
    assert lab.total("rescued") == 0


async def test_worker_without_file_descriptors_harms_no_job(lab: Lab) -> None:
    """F10: 64 files may be open, for 300 slots: each attempt is a call; with more files the slots come back."""
    lab.upstreams[PRIMARY].set(latency="fixed:0.3")
    worker = await lab.start("--concurrency", "300")
    soft, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (64, hard))
    await lab.submit(Load(jobs=300))
    assert await lab.collect()
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (soft, hard))
    lab.upstreams[PRIMARY].set(latency="fixed:1")  # many calls at once take no fast machine then
    await lab.submit(Load(jobs=800))
    await wait_until(lambda: lab.in_flight() > 150)
    lab.upstreams[PRIMARY].set(latency="fixed:0.05")
    assert await lab.collect()
    evidence = await lab.evidence()
    check(evidence)
    calls = Counter(call.job for call in evidence.all_calls())
    attempts = {job_id: int(job["cq_attempts"]) for job_id, job in evidence.snapshot.jobs.items()}
    assert attempts == calls == dict.fromkeys(lab.asks, 1)
    assert evidence.snapshot.totals["backoff"] > 0
    assert lab.fleet.log(worker).count("fewer than 300 jobs at a time") == 1
