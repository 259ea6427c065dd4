"""Each guard is taken out in turn: the run that needs it must not pass."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest

from tests.chaos.checker import Broken, check
from tests.chaos.evidence import Limit
from tests.chaos.lab import PRIMARY, Lab, limit_env
from tests.chaos.load import Load
from tests.chaos.mutations import MUTATIONS
from tests.chaos.test_redis import full_redis
from tests.support import wait_until

Run = Callable[[Lab, str], Awaitable[None]]


async def late_answers(lab: Lab, mutation: str) -> None:
    """A worker wakes up with answers to jobs that others have finished."""
    lab.upstreams[PRIMARY].set(latency="fixed:1")
    await lab.submit(Load(jobs=300))
    sleeper = await lab.start(CHAOS_MUTATION=mutation)
    await wait_until(lambda: lab.in_flight() >= 200)
    lab.stop(sleeper)
    lab.upstreams[PRIMARY].set(latency="fixed:0.4")
    await lab.start(CHAOS_MUTATION=mutation)
    assert await lab.collect()
    before = lab.total("stale")
    sleeper.send_signal(signal.SIGCONT)
    await wait_until(lambda: lab.total("stale") > before or bool(mutation))


async def cancelled_in_the_queue(lab: Lab, mutation: str) -> None:
    """Half of the jobs are cancelled before a worker comes; their list entries are still there."""
    ids = await lab.submit(Load(jobs=100))
    for job_id in ids[::2]:
        await lab.cancel(job_id)
    await asyncio.sleep(lab.declared.cancel_slack_s + 0.1)
    await lab.start(CHAOS_MUTATION=mutation)
    await lab.collect(timeout_s=5)


async def large_estimates(lab: Lab, mutation: str) -> None:
    """Each job asks for 1,000 tokens and uses 20, under a limit of 600,000 a minute."""
    await lab.start(CHAOS_MUTATION=mutation, CHATQ_PROVIDERS__OLLAMA__LIMITS__TPM="600000")
    await lab.submit(Load(jobs=120, max_tokens=1_000))
    await lab.collect(timeout_s=5)


async def more_than_the_limits(lab: Lab, mutation: str) -> None:
    """More jobs than slots, and than requests a second; the provider takes them all, and its log tells."""
    limit = Limit(PRIMARY, rpm=12_000, concurrency=30)
    lab.limits.append(limit)
    await lab.start(CHAOS_MUTATION=mutation, **limit_env(limit))
    await lab.submit(Load(jobs=400))
    await lab.collect(timeout_s=5)


async def memory_is_short(lab: Lab, mutation: str) -> None:
    """Redis is over maxmemory while answers come in."""
    await full_redis(lab, CHAOS_MUTATION=mutation)


async def cancelled_in_dead_hands(lab: Lab, mutation: str) -> None:
    """A worker that stands still holds jobs that are cancelled; then it dies."""
    lab.upstreams[PRIMARY].set(latency="fixed:0.5")
    await lab.submit(Load(jobs=100))
    worker = await lab.start("--concurrency", "50")
    await wait_until(lambda: lab.in_flight() >= 50)
    blow = lab.stop(worker)
    for job_id in sorted(blow.held)[:20]:
        await lab.cancel(job_id)
    lab.kill(worker)
    await lab.start(CHAOS_MUTATION=mutation)
    await lab.collect(timeout_s=10)


RUNS: dict[str, tuple[Run, str]] = {
    "no-fence": (late_answers, "I1"),
    "no-claim-compare-and-set": (cancelled_in_the_queue, "I1"),
    "no-refund": (large_estimates, "I1"),
    "no-allow-oom": (memory_is_short, "I21"),
    "no-limiter": (more_than_the_limits, "I7"),
    "no-rescuer-guard": (cancelled_in_dead_hands, "I1"),
}
"""The run that needs the guard, and the first invariant that breaks without it."""


def test_every_mutation_has_its_run() -> None:
    assert RUNS.keys() == MUTATIONS.keys()


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_run_without_its_guard_is_broken(lab: Lab, mutation: str) -> None:
    """The checker must see it."""
    run, invariant = RUNS[mutation]
    await run(lab, mutation)
    evidence = await lab.evidence(timeout_s=2)
    with pytest.raises(Broken, match=rf"^{invariant}\b"):
        check(evidence)


@pytest.mark.parametrize(
    "mutation", ["no-claim-compare-and-set", "no-limiter", "no-refund", "no-rescuer-guard"]
)
async def test_same_run_with_its_guard_is_fine(lab: Lab, mutation: str) -> None:
    """What breaks above is the guard's absence, not the run. (The other two runs are tests of their own.)"""
    run, _ = RUNS[mutation]
    await run(lab, "")
    check(await lab.evidence())
