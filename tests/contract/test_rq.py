"""The contract with RQ: its own tools read, run and steer what chatq wrote, and the other way round.

Against the installed RQ, with its CLI as a user would type it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from rq import Queue
from rq.command import send_shutdown_command, send_stop_job_command
from rq.job import Job as RqJob
from rq.registry import CanceledJobRegistry, ScheduledJobRegistry, StartedJobRegistry, clean_registries
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend
from rq.worker import Worker as RqWorker

from producer import JobState, Producer
from simulator import Simulator
from tests.support import RedisServer, WorkerRunner, ended, wait_until

CHAT = {"model": "qwen3.5", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}


def chat(model: str) -> dict[str, object]:
    return {**CHAT, "model": model}


@pytest.fixture
def connection(redis_server: RedisServer, redis_url: str) -> Iterator[redis.Redis]:
    """RQ wants a client that does not decode."""
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        yield client


@pytest.fixture
def queue(connection: redis.Redis) -> Queue:
    return Queue("ollama.default", connection=connection, serializer=JSONSerializer)


def fetch(job_id: str, connection: redis.Redis) -> RqJob:
    return RqJob.fetch(job_id, connection=connection, serializer=JSONSerializer)


def rq_info(redis_url: str, tmp_path: Path) -> str:
    """`rq info`; its CLI knows TCP and unix URLs alike."""
    command = [str(Path(sys.executable).with_name("rq")), "info", "--url", redis_url, "--raw"]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env, timeout=30).stdout


LONG_BACKOFF = {"CHATQ_JOBS__BACKOFF_BASE_S": "600", "CHATQ_JOBS__BACKOFF_MAX_S": "600"}
"""A job that failed once stays in the scheduled registry: its delay is anywhere up to ten minutes."""


async def running(producer: Producer, simulator: Simulator, model: str = "sim-fault-hang") -> str:
    """A job whose call is in flight and does not end."""
    job_id = await producer.submit(chat(model))
    await wait_until(lambda: bool(simulator.stats()["in_flight"]))
    return job_id


async def test_rq_info_shows_queues_jobs_workers(
    workers: WorkerRunner, producer: Producer, simulator: Simulator, redis_url: str, tmp_path: Path
) -> None:
    """An operator's first look works without chatq's own tools."""
    await producer.submit(chat("openrouter/a/b"))
    workers.start("--providers", "ollama")
    await running(producer, simulator)
    text = await asyncio.to_thread(rq_info, redis_url, tmp_path)
    assert "queue openrouter.default 1" in text
    assert "worker chatq-" in text


async def test_job_fetch_reads_every_state(
    workers: WorkerRunner, producer: Producer, simulator: Simulator, connection: redis.Redis
) -> None:
    """Queued, started, finished, failed, scheduled and cancelled jobs are jobs to RQ."""
    queued = await producer.submit(chat("openrouter/a/b"))
    cancelled = await producer.submit(chat("openrouter/a/b"))
    await producer.cancel(cancelled)
    workers.start("--providers", "ollama", **LONG_BACKOFF)
    finished = await producer.submit(chat("qwen3.5"))
    failed = await producer.submit(chat("sim-fault-bad-key"))
    scheduled = await producer.submit(chat("sim-fault-500"))
    await producer.wait(finished, timeout_s=20)
    await producer.wait(failed, timeout_s=20)
    started = await running(producer, simulator)
    await wait_until(lambda: connection.hget(f"rq:job:{scheduled}", "status") == b"scheduled")
    expected = {
        queued: "queued", cancelled: "canceled", finished: "finished",
        failed: "failed", scheduled: "scheduled", started: "started",
    }  # fmt: skip
    jobs = {job_id: fetch(job_id, connection) for job_id in expected}
    assert {job_id: job.get_status() for job_id, job in jobs.items()} == expected
    assert all(job.func_name == "worker.tasks.chat" for job in jobs.values())
    assert jobs[finished].args[0]["messages"] == CHAT["messages"]
    assert jobs[finished].ended_at is not None
    assert jobs[queued].description == "chat"


async def test_registries_hold_what_rq_expects(
    workers: WorkerRunner, producer: Producer, simulator: Simulator, connection: redis.Redis, queue: Queue
) -> None:
    """Each job stands in the one registry of its state."""
    workers.start(**LONG_BACKOFF)
    scheduled = await producer.submit(chat("sim-fault-500"))
    finished = await producer.submit(chat("qwen3.5"))
    failed = await producer.submit(chat("sim-fault-bad-key"))
    await producer.wait(finished, timeout_s=20)
    await producer.wait(failed, timeout_s=20)
    cancelled = await producer.submit(chat("sim-latency-30"))
    started = await running(producer, simulator)
    await producer.cancel(cancelled)
    await wait_until(lambda: connection.hget(f"rq:job:{scheduled}", "status") == b"scheduled")
    assert queue.finished_job_registry.get_job_ids() == [finished]
    assert queue.failed_job_registry.get_job_ids() == [failed]
    assert ScheduledJobRegistry(queue=queue).get_job_ids() == [scheduled]
    assert CanceledJobRegistry(queue=queue).get_job_ids() == [cancelled]
    assert StartedJobRegistry(queue=queue).get_job_ids() == [started]


async def test_full_mirror_has_rq_results(
    workers: WorkerRunner, producer: Producer, connection: redis.Redis
) -> None:
    """With the full mirror on, `latest_result()` gives the answer and the error."""
    workers.start(CHATQ_RQ__MIRROR="full")
    good = await producer.submit(chat("qwen3.5"))
    bad = await producer.submit(chat("sim-fault-bad-key"))
    answered = await producer.wait(good, timeout_s=20)
    await producer.wait(bad, timeout_s=20)
    result = fetch(good, connection).latest_result()
    assert result is not None
    assert result.type == result.Type.SUCCESSFUL
    assert result.return_value == answered.response
    failure = fetch(bad, connection).latest_result()
    assert failure is not None
    assert failure.type == failure.Type.FAILED
    assert "credential_rejected" in (failure.exc_string or "")


async def test_light_mirror_has_no_result_stream(
    workers: WorkerRunner, producer: Producer, connection: redis.Redis
) -> None:
    """The default saves the stream's 4 kB a job."""
    workers.start()
    job_id = await producer.submit(CHAT)
    await producer.wait(job_id, timeout_s=20)
    assert connection.exists(f"rq:results:{job_id}") == 0


async def test_stock_rq_worker_runs_our_jobs(
    workers: WorkerRunner, producer: Producer, simulator: Simulator, redis_url: str, connection: redis.Redis
) -> None:
    """`rq worker -S rq.serializers.JSONSerializer --burst` answers a job, and chatq reads the answer."""
    job_id = await producer.submit(CHAT)
    failing = await producer.submit(chat("sim-fault-bad-key"))
    rq = str(Path(sys.executable).with_name("rq"))
    command = [
        rq,
        "worker",
        "-S",
        "rq.serializers.JSONSerializer",
        "--burst",
        "--url",
        redis_url,
        "ollama.default",
    ]
    process = subprocess.Popen(command, env=workers.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert await ended(process) == 0
    job = await producer.wait(job_id, timeout_s=10)
    assert job.state is JobState.COMPLETED
    assert job.text
    failed = await producer.wait(failing, timeout_s=10)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert "CredentialRejected" in failed.error.message
    assert len(simulator.calls) == 2
    for key in connection.scan_iter("rq:results:*"):
        connection.expire(
            key, 60
        )  # RQ leaves failures' streams without a TTL when failure_ttl is its default


async def test_our_worker_runs_plain_rq_jobs(
    workers: WorkerRunner, producer: Producer, queue: Queue, simulator: Simulator
) -> None:
    """A job enqueued with RQ alone, compressed and without chatq's fields, is validated and run."""
    workers.start()
    good = queue.enqueue("worker.tasks.chat", CHAT, result_ttl=60, failure_ttl=60)
    evil = queue.enqueue("os.system", "true", result_ttl=60, failure_ttl=60)
    wrong = queue.enqueue("worker.tasks.chat", {"model": "m"}, result_ttl=60, failure_ttl=60)
    assert (await producer.wait(good.id, timeout_s=20)).state is JobState.COMPLETED
    refused = await producer.wait(evil.id, timeout_s=20)
    assert refused.error is not None
    assert refused.error.code == "corrupt_job"
    invalid = await producer.wait(wrong.id, timeout_s=20)
    assert invalid.error is not None
    assert invalid.error.code == "invalid_request"
    assert len(simulator.calls) == 1


async def test_plain_rq_retry_needs_no_scheduler(
    workers: WorkerRunner, producer: Producer, queue: Queue, simulator: Simulator
) -> None:
    """Our retries work on a plain job too: the policy's attempts, our promoter."""
    workers.start(CHATQ_JOBS__BACKOFF_BASE_S="0.01")
    job = queue.enqueue("worker.tasks.chat", chat("sim-fault-500"), result_ttl=60, failure_ttl=60)
    assert (await producer.wait(job.id, timeout_s=20)).attempts == 3


async def test_rq_cleaners_leave_running_jobs_alone(
    workers: WorkerRunner,
    producer: Producer,
    simulator: Simulator,
    redis_url: str,
    queue: Queue,
    tmp_path: Path,
) -> None:
    """`rq info` and `clean_registries` use their own clock; a score of +inf is beyond any."""
    workers.start()
    job_id = await running(producer, simulator)
    await asyncio.to_thread(rq_info, redis_url, tmp_path)
    clean_registries(queue)
    StartedJobRegistry(queue=queue).cleanup(timestamp=2_000_000_000_000)
    assert (await producer.get(job_id)).state is JobState.IN_PROGRESS
    assert StartedJobRegistry(queue=queue).get_job_ids() == [job_id]


async def test_rq_worker_list_shows_ours(workers: WorkerRunner, connection: redis.Redis) -> None:
    """Name, host, pid, state and queues, as RQ's dashboards show them."""
    process = workers.start()
    (worker,) = RqWorker.all(connection=connection, serializer=JSONSerializer)
    assert worker.pid == process.pid
    assert worker.get_state() == "idle"
    assert "ollama.batch" in worker.queue_names()


async def test_rq_suspend_holds_our_worker(
    workers: WorkerRunner, producer: Producer, simulator: Simulator, connection: redis.Redis
) -> None:
    """Nothing is claimed until `rq resume`."""
    suspend(connection, 60)
    workers.start(CHATQ_WORKER__POLL_S="0.05")
    job_id = await producer.submit(CHAT)
    probe = await producer.submit(CHAT, expires_in_s=0.3)
    # The background roles go on: when they have ended this one, the engine has polled several times.
    assert (await producer.wait(probe, timeout_s=20)).state is JobState.EXPIRED
    assert (await producer.get(job_id)).state is JobState.QUEUED
    resume(connection)
    assert (await producer.wait(job_id, timeout_s=20)).state is JobState.COMPLETED


async def test_rq_stop_job_ends_the_call(
    workers: WorkerRunner, producer: Producer, simulator: Simulator, connection: redis.Redis
) -> None:
    """`send_stop_job_command` drops the call; RQ sees `stopped`, chatq `cancelled`."""
    workers.start()
    job_id = await running(producer, simulator)
    send_stop_job_command(connection, job_id, serializer=JSONSerializer)
    job = await producer.wait(job_id, timeout_s=20)
    assert job.state is JobState.CANCELLED
    assert fetch(job_id, connection).get_status() == "stopped"
    await wait_until(lambda: not simulator.stats()["in_flight"])


async def test_rq_shutdown_drains_our_worker(workers: WorkerRunner, connection: redis.Redis) -> None:
    """`send_shutdown_command` is a SIGTERM."""
    process = workers.start()
    (worker,) = RqWorker.all(connection=connection, serializer=JSONSerializer)
    send_shutdown_command(connection, worker.name)
    assert await ended(process) == 0
    assert RqWorker.all(connection=connection, serializer=JSONSerializer) == []


async def test_rq_cancel_of_queued_job_holds(
    workers: WorkerRunner, producer: Producer, connection: redis.Redis, simulator: Simulator
) -> None:
    """RQ's own cancel before the claim: the job is never sent."""
    job_id = await producer.submit(CHAT)
    fetch(job_id, connection).cancel()
    workers.start()
    assert (await producer.wait(await producer.submit(CHAT), timeout_s=20)).state is JobState.COMPLETED
    assert (await producer.get(job_id)).state is JobState.CANCELLED
    assert len(simulator.calls) == 1
    await wait_until(lambda: connection.ttl(f"rq:job:{job_id}") > 0)  # RQ sets none; the janitor does


async def test_rq_requeue_runs_a_failed_job_again(
    workers: WorkerRunner, producer: Producer, connection: redis.Redis, simulator: Simulator
) -> None:
    """The dashboard's requeue button works on our failures."""
    workers.start(CHATQ_BREAKER__CREDENTIAL_OPEN_S="0.1")
    job_id = await producer.submit(chat("sim-fault-bad-key-first-1"))
    assert (await producer.wait(job_id, timeout_s=20)).state is JobState.FAILED
    fetch(job_id, connection).requeue()
    assert (await producer.wait(job_id, timeout_s=20)).state is JobState.COMPLETED
