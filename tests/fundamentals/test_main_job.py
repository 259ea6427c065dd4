"""The main job, end to end: a newcomer reads these first.

Real Redis, a real worker process, a provider on loopback. The six points of chatd's acceptance are here.
"""

from __future__ import annotations

import pytest

from producer import Job, JobState, Lane, Producer, Submission
from shared.errors import IdempotencyConflict, InvalidRequest, ProviderNotFound, WaitTimeout
from shared.providers import ProviderRegistry
from simulator import Simulator, text_digest
from tests.support import WorkerRunner, ended


def chat(model: str, text: str = "What is a queue?") -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8}


async def ask(producer: Producer, model: str, text: str = "What is a queue?") -> Job:
    return await producer.wait(await producer.submit(chat(model, text)), timeout_s=20)


def test_providers_are_exactly_those_registered(registry: ProviderRegistry) -> None:
    """No key, no provider."""
    assert list(registry.registered) == ["ollama", "ollama_cloud", "openrouter"]


async def test_bare_model_is_answered_by_ollama(workers: WorkerRunner, producer: Producer) -> None:
    """Content, token counts and latency come back."""
    workers.start()
    job = await ask(producer, "qwen3.5")
    assert job.state is JobState.COMPLETED
    assert text_digest("qwen3.5", "", "What is a queue?") in (job.text or "")
    assert job.response is not None
    record = job.response["chatq"]
    assert record["provider"] == "ollama"
    assert record["usage"]["input_total"] > 0
    assert record["usage"]["output_total"] > 0
    assert record["latency_s"] > 0


@pytest.mark.parametrize(
    ("model", "upstream_model", "wire"),
    [
        ("ollama/qwen3.5", "qwen3.5", "ollama"),
        ("ollama_cloud/gpt-oss:120b", "gpt-oss:120b", "ollama_generate"),
        ("kimi-k2.6:cloud", "kimi-k2.6", "ollama_generate"),
        ("openrouter/openai/gpt-5", "openai/gpt-5", "openai"),
        ("local_fast", "qwen3.5:latest", "ollama"),
        ("unknown/m", "unknown/m", "ollama"),
    ],
)
async def test_upstream_sees_stripped_model(
    workers: WorkerRunner,
    producer: Producer,
    simulator: Simulator,
    model: str,
    upstream_model: str,
    wire: str,
) -> None:
    """The prefix routes and then goes; an unknown one stays and goes to the default."""
    workers.start()
    job = await ask(producer, model)
    assert job.state is JobState.COMPLETED
    assert [(call.model, call.wire) for call in simulator.calls] == [(upstream_model, wire)]


async def test_unregistered_provider_is_refused_at_submit(producer: Producer) -> None:
    """No job, no silent fall-through."""
    with pytest.raises(ProviderNotFound, match="kimi"):
        await producer.submit(chat("kimi/k3"))
    assert (await producer.status()).totals == {}


async def test_default_upstreams_404_fails_the_job(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """An unknown model reaches the default upstream, and its answer is the job's error."""
    simulator.set(models=["qwen3.5"])
    workers.start()
    job = await ask(producer, "unknown/m")
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.status == 404
    assert job.attempts == 1


async def test_missing_model_is_invalid(producer: Producer) -> None:
    """The error names the field."""
    with pytest.raises(InvalidRequest) as caught:
        await producer.submit({"messages": [{"role": "user", "content": "hi"}]})
    assert caught.value.field == "model"


async def test_transient_failure_is_retried(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """One 500, then an answer; both calls stand on the job."""
    workers.start(CHATQ_JOBS__BACKOFF_BASE_S="0.01")
    job = await ask(producer, "sim-fault-500-first-1")
    assert (job.state, job.attempts) == (JobState.COMPLETED, 2)
    assert [call.status for call in simulator.calls] == [500, 200]


async def test_rate_limit_costs_no_attempt(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """A 429 is a wait: two calls, one attempt."""
    workers.start()
    simulator.set(retry_after_s=0.05)
    job = await ask(producer, "sim-fault-429-first-1")
    assert (job.state, job.attempts) == (JobState.COMPLETED, 1)
    assert [call.status for call in simulator.calls] == [429, 200]


async def test_attempts_end_at_the_limit(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """Three calls by default, then the job fails with the last error."""
    workers.start(CHATQ_JOBS__BACKOFF_BASE_S="0.01")
    job = await ask(producer, "sim-fault-500")
    assert (job.state, job.attempts) == (JobState.FAILED, 3)
    assert job.error is not None
    assert job.error.status == 500
    assert len(simulator.calls) == 3


async def test_idempotency_key_is_one_job(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """Same key and body, same id; another body is a conflict."""
    workers.start()
    first = await producer.submit(chat("qwen3.5"), idempotency_key="k")
    assert await producer.submit(chat("qwen3.5"), idempotency_key="k") == first
    await producer.wait(first, timeout_s=20)
    assert await producer.submit(chat("qwen3.5"), idempotency_key="k") == first
    with pytest.raises(IdempotencyConflict):
        await producer.submit(chat("qwen3.5", "something else"), idempotency_key="k")
    assert len(simulator.calls) == 1


async def test_expired_job_is_never_sent(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """A deadline that passed in the queue ends the job without a call."""
    job_id = await producer.submit(chat("qwen3.5"), expires_in_s=0.001)
    workers.start()
    job = await producer.wait(job_id, timeout_s=20)
    assert (job.state, job.attempts) == (JobState.EXPIRED, 0)
    assert simulator.calls == []


async def test_cancelled_job_is_never_sent(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """No call after the acknowledgement."""
    job_id = await producer.submit(chat("qwen3.5"))
    assert await producer.cancel(job_id) is JobState.CANCELLED
    assert await ended(workers.start("--burst", ready=False)) == 0
    assert simulator.calls == []
    assert (await producer.get(job_id)).state is JobState.CANCELLED


async def test_running_call_is_dropped_by_cancel(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """The upstream sees the connection go long before its answer would have come."""
    process = workers.start()
    job_id = await producer.submit(chat("sim-fault-hang"))
    while (await producer.get(job_id)).state is not JobState.IN_PROGRESS or not simulator.stats()[
        "in_flight"
    ]:
        assert process.poll() is None
    assert await producer.cancel(job_id) is JobState.CANCELLED
    while simulator.stats()["in_flight"]:
        await producer.get(job_id)
    assert (await producer.wait(job_id, timeout_s=5)).state is JobState.CANCELLED


async def test_wait_gives_up_and_the_job_goes_on(producer: Producer) -> None:
    """A wait that times out says so and leaves the job queued."""
    job_id = await producer.submit(chat("qwen3.5"))
    with pytest.raises(WaitTimeout):
        await producer.wait(job_id, timeout_s=0.05)
    assert (await producer.get(job_id)).state is JobState.QUEUED


async def test_source_label_reaches_the_upstream(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """The label travels as a header; metadata comes back with the job."""
    workers.start()
    job_id = await producer.submit(chat("qwen3.5"), source="nightly", metadata={"row": 7})
    job = await producer.wait(job_id, timeout_s=20)
    assert simulator.calls[0].source == "nightly"
    assert (job.source, job.metadata) == ("nightly", {"row": 7})


async def test_bad_neighbours_do_not_hold_up_good_ones(workers: WorkerRunner, producer: Producer) -> None:
    """A bulk submit takes what is right and says what is wrong, in order."""
    workers.start()
    bad: list[dict[str, object]] = [{}, chat(""), chat("kimi/k3"), {"model": "m", "messages": []}]
    async with producer.watch() as watch:
        results = await watch.submit_many(Submission(r) for r in [chat("a"), *bad, chat("b")])
        jobs = [job async for job in watch]
    assert [type(r).__name__ for r in results[1:-1]] == [
        "InvalidRequest", "InvalidRequest", "ProviderNotFound", "InvalidRequest",
    ]  # fmt: skip
    assert {job.id for job in jobs} == {results[0], results[-1]}
    assert all(job.state is JobState.COMPLETED for job in jobs)


async def test_thousand_jobs_are_each_answered_once(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """Every answer carries the digest of its own request."""
    workers.start()
    texts = {f"question {n}": text_digest("m", "", f"question {n}") for n in range(1000)}
    async with producer.watch() as watch:
        ids = await watch.submit_many(Submission(chat("m", text), lane=Lane.BATCH) for text in texts)
        jobs = {job.id: job async for job in watch}
    for job_id, digest in zip(ids, texts.values(), strict=True):
        assert digest in (jobs[str(job_id)].text or "")
    assert len(simulator.calls) == 1000


async def test_status_shows_queues_and_workers(workers: WorkerRunner, producer: Producer) -> None:
    """What waits, where, since when, and who serves it."""
    await producer.submit(chat("qwen3.5"), lane=Lane.BATCH)
    status = await producer.status()
    assert [(q.name, q.provider, q.lane, q.waiting) for q in status.queues] == [
        ("ollama.batch", "ollama", "batch", 1)
    ]
    assert status.queues[0].oldest_age_s is not None
    workers.start("--providers", "openrouter")
    (worker,) = (await producer.status()).workers
    assert worker.queues == ("openrouter.interactive", "openrouter.default", "openrouter.batch")


async def test_sigterm_gives_unfinished_jobs_back(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """After the grace period the jobs are queued again, no attempt spent, and the worker exits 0."""
    process = workers.start(CHATQ_WORKER__GRACE_S="0.1")
    job_id = await producer.submit(chat("sim-fault-hang"))
    while not simulator.stats()["in_flight"]:
        await producer.get(job_id)
    process.terminate()
    assert await ended(process) == 0
    job = await producer.get(job_id)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)


async def test_burst_worker_ends_when_all_is_done(workers: WorkerRunner, producer: Producer) -> None:
    """Retries included: a job that waits for its backoff is still work."""
    ids = [await producer.submit(chat(model)) for model in ("a", "sim-fault-500-first-1")]
    process = workers.start("--burst", ready=False, CHATQ_JOBS__BACKOFF_BASE_S="0.3")
    assert await ended(process) == 0
    jobs = await producer.get_many(ids)
    assert [job and job.state for job in jobs] == [JobState.COMPLETED] * 2
