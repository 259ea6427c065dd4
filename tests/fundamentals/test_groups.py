"""Groups at work, end to end: a model name that stands for a choice, made for each request."""

from __future__ import annotations

from collections import Counter

import pytest

from producer import Job, JobState, Lane, Producer, Submission
from shared.errors import InvalidRequest
from shared.store.limits import Field
from simulator import Simulator
from tests.support import WorkerRunner

TIERS = ["openrouter/small", "openrouter/medium", "ollama/large"]


def chat(model: str, text: str = "What is a queue?") -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8}


async def ask(producer: Producer, model: str, text: str = "What is a queue?") -> Job:
    return await producer.wait(await producer.submit(chat(model, text)), timeout_s=20)


async def make_dispatcher(producer: Producer, **fields: object) -> None:
    """Three tiers under a selector of their own."""
    await producer.groups.set(
        "dispatcher",
        {
            "strategy": "classifier",
            "targets": TIERS,
            "selector": "ollama_cloud/rater",
            "complexity_threshold": 10,
            **fields,
        },
    )


async def test_rules_choose_the_target(workers: WorkerRunner, producer: Producer) -> None:
    """A complex task goes to the strongest, all else to the first; the others are fallbacks."""
    await producer.groups.set("pair", {"targets": ["ollama/small", "openrouter/large"]})
    workers.start()
    plain, complex_ = await ask(producer, "pair"), await ask(producer, "pair", "Debug this, step by step.")
    assert [job.candidate and job.candidate.model for job in (plain, complex_)] == ["small", "large"]
    assert [c.model for c in plain.candidates] == ["small", "large"]
    assert plain.chain == ["pair (no rule)", "ollama/small"]


async def test_selector_is_asked_once_and_the_job_goes_on_to_its_target(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """The rating is a call on the selector's own queue; what it chose is on the record."""
    await make_dispatcher(producer)
    workers.start()
    job = await ask(producer, "dispatcher")
    assert job.state is JobState.COMPLETED
    assert job.attempts == 1
    rating, own = simulator.calls
    assert rating.model == "rater"
    assert job.candidate is not None
    assert own.model == job.candidate.model
    assert job.chain[0].startswith("dispatcher (rating ")
    assert job.chain[1] == f"{job.candidate.provider}/{job.candidate.model}"
    assert [one.candidate and one.candidate.model for one in job.attempts_log] == ["rater", own.model]
    assert [one.rates_for for one in job.attempts_log] == ["dispatcher", None]


async def test_selector_that_is_down_leaves_the_choice_to_the_rules(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """It is asked once; the job completes without a rating, and no attempt is spent on it."""
    await make_dispatcher(producer, selector="ollama_cloud/sim-fault-500")
    workers.start()
    job = await ask(producer, "dispatcher", "Please refactor it.")
    assert (job.state, job.attempts) == (JobState.COMPLETED, 1)
    assert job.candidate is not None
    assert job.candidate.model == "large"
    assert job.chain == ["dispatcher (no rating, complex task)", "ollama/large"]
    assert [call.model for call in simulator.calls] == ["sim-fault-500", "large"]


async def test_all_complete_while_the_selector_is_down(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """Its breaker opens: what waits for a rating goes where the rules send it, and few ask in vain."""
    await make_dispatcher(producer, selector="ollama_cloud/sim-fault-500")
    workers.start(CHATQ_BREAKER__MIN_CALLS="5")
    submissions = [Submission(chat("dispatcher", f"Question {n}"), lane=Lane.BATCH) for n in range(300)]
    async with producer.watch() as watch:
        await watch.submit_many(submissions)
        jobs = [job async for job in watch]
    assert {(job.state, job.attempts) for job in jobs} == {(JobState.COMPLETED, 1)}
    assert {job.chain[0] for job in jobs} == {"dispatcher (no rating, no rule)"}
    asked = Counter(call.model for call in simulator.calls)
    assert asked["small"] == 300
    assert asked["sim-fault-500"] < 300


async def test_identical_messages_are_rated_once(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """Where the group keeps ratings."""
    await make_dispatcher(producer, cache_s=60)
    workers.start()
    first, second = await ask(producer, "dispatcher"), await ask(producer, "dispatcher")
    assert first.chain == second.chain
    assert sum(call.model == "rater" for call in simulator.calls) == 1


async def test_two_thousand_jobs_are_rated_and_answered_once_each(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """Over three tiers, under limits of selector and targets that the provider enforces: no call too many."""
    limits = {"rater": 40, "small": 15, "medium": 15, "large": 25}
    simulator.set(latency="0.02", model_limits={name: {"concurrency": n} for name, n in limits.items()})
    await make_dispatcher(producer)
    for name, scope in (("rater", "ollama_cloud"), ("small", "openrouter/small"), ("large", "ollama")):
        await producer.limits.set(scope, {Field.CONCURRENCY: limits[name]})
    await producer.limits.set("openrouter/medium", {Field.CONCURRENCY: limits["medium"]})
    workers.start()
    submissions = [Submission(chat("dispatcher", f"Question {n}"), lane=Lane.BATCH) for n in range(2000)]
    async with producer.watch() as watch:
        await watch.submit_many(submissions)
        jobs = [job async for job in watch]
    assert len(jobs) == 2000
    assert {job.state for job in jobs} == {JobState.COMPLETED}
    asked = Counter(call.model for call in simulator.calls)
    assert {call.status for call in simulator.calls} == {200}
    assert asked["rater"] == 2000
    assert sum(asked.values()) == 4000
    assert min(asked[name] for name in ("small", "medium", "large")) > 100
    assert all(job.chain[0].startswith("dispatcher (rating ") for job in jobs)


async def test_group_made_at_run_time_is_followed(workers: WorkerRunner, producer: Producer) -> None:
    """Changed while everything runs; what cannot be is refused."""
    workers.start()
    await producer.groups.set("mine", {"targets": ["ollama/one"]})
    assert (await ask(producer, "mine")).candidate == (await ask(producer, "ollama/one")).candidate
    await producer.groups.set("mine", {"targets": ["ollama/two"]})
    job = await ask(producer, "mine")
    assert job.candidate is not None
    assert job.candidate.model == "two"
    with pytest.raises(InvalidRequest, match="circle"):
        await producer.groups.set("mine", {"targets": ["mine"]})
    await producer.groups.delete("mine")
    with pytest.raises(InvalidRequest, match="mine"):
        await producer.groups.get("mine")


async def test_job_waits_for_its_targets_until_its_deadline(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """All of them are down: it is not lost and not refused, and few calls are made meanwhile."""
    await producer.groups.set(
        "down", {"strategy": "failover", "targets": ["ollama/sim-fault-503", "openrouter/sim-fault-503"]}
    )
    workers.start(CHATQ_BREAKER__MIN_CALLS="2", CHATQ_JOBS__BACKOFF_BASE_S="0.01")
    job_id = await producer.submit(chat("down"), expires_in_s=4, max_attempts=20)
    job = await producer.wait(job_id, timeout_s=20)
    assert job.state is JobState.EXPIRED
    assert 0 < len(simulator.calls) <= 8


async def test_job_goes_on_when_a_target_is_back(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """It waited for the best one."""
    await producer.groups.set("flaky", {"strategy": "failover", "targets": ["ollama/sim-fault-503-first-3"]})
    workers.start(
        CHATQ_BREAKER__MIN_CALLS="2", CHATQ_BREAKER__OPEN_S="0.5", CHATQ_JOBS__BACKOFF_BASE_S="0.01"
    )
    job = await producer.wait(await producer.submit(chat("flaky"), max_attempts=20), timeout_s=30)
    assert job.state is JobState.COMPLETED
    assert [call.status for call in simulator.calls] == [503, 503, 503, 200]
