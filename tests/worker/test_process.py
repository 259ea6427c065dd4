"""The worker process: signals, several processes, telemetry, and what it survives."""

from __future__ import annotations

import asyncio
import signal

import psutil
import redis

from producer import JobState, Producer
from shared.store.telemetry import read_entry
from simulator import Simulator
from tests.support import RedisServer, WorkerRunner, ended, wait_until

SECRET = "the prompt nobody else may read"


def chat(model: str = "qwen3.5") -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": SECRET}], "max_tokens": 8}


async def test_drain_finishes_what_runs(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """SIGTERM stops claiming; the running call is awaited and stored."""
    process = workers.start()
    running = await producer.submit(chat("sim-latency-0.5"))
    await wait_until(lambda: bool(simulator.stats()["in_flight"]))
    process.terminate()
    await wait_until(lambda: "asked to stop" in workers.log(process))
    later = await producer.submit(chat())
    assert await ended(process) == 0
    assert (await producer.get(running)).state is JobState.COMPLETED
    assert (await producer.get(later)).state is JobState.QUEUED


async def test_second_sigterm_gives_back_at_once(
    workers: WorkerRunner, producer: Producer, simulator: Simulator
) -> None:
    """No grace period is waited for; the attempt is not spent."""
    process = workers.start(CHATQ_WORKER__GRACE_S="600")
    job_id = await producer.submit(chat("sim-fault-hang"))
    await wait_until(lambda: bool(simulator.stats()["in_flight"]))
    process.terminate()
    await wait_until(lambda: "asked to stop" in workers.log(process))
    process.terminate()
    assert await ended(process) == 0
    job = await producer.get(job_id)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)


async def test_supervisor_replaces_a_dead_process(
    workers: WorkerRunner, producer: Producer, redis_server: RedisServer
) -> None:
    """Two processes; one is killed and comes back; SIGTERM ends all of them well."""
    supervisor = workers.start("--processes", "2")
    with redis_server.client() as raw:
        await wait_until(lambda: raw.scard("rq:workers") == 2)
        children = psutil.Process(supervisor.pid).children()
        children[0].send_signal(signal.SIGKILL)
        await wait_until(
            lambda: (
                {c.pid for c in psutil.Process(supervisor.pid).children() if c.status() != "zombie"}
                not in ({children[0].pid, children[1].pid}, {children[1].pid})
            )
        )
        await wait_until(lambda: raw.scard("rq:workers") == 3)  # the dead one's entry waits for its TTL
    job_id = await producer.submit(chat())
    assert (await producer.wait(job_id, timeout_s=20)).state is JobState.COMPLETED
    supervisor.terminate()
    assert await ended(supervisor) == 0
    assert not any(child.is_running() and child.status() != "zombie" for child in children)


async def test_events_tell_all_but_the_content(
    workers: WorkerRunner, producer: Producer, redis_server: RedisServer
) -> None:
    """One event per attempt and one per outcome; never a prompt, an answer or a key."""
    process = workers.start(CHATQ_JOBS__BACKOFF_BASE_S="0.01")
    job_id = await producer.submit(chat("openrouter/v/sim-fault-500-first-1"), source="nightly")
    job = await producer.wait(job_id, timeout_s=20)
    with redis_server.client() as raw:
        entries = raw.xrange("chatq:events")
    texts = [text for _, fields in entries for text in fields.values()]
    events = []
    for name, fields in entries:
        found = read_entry(name, {kind.encode(): text.encode() for kind, text in fields.items()})
        events += [event.fields for event in found if event]
    assert [(e["type"], e.get("attempt"), e["error"]) for e in events] == [
        ("attempt", 1, "server_error"), ("attempt", 2, None), ("outcome", None, None),
    ]  # fmt: skip
    outcome = events[-1]
    assert (outcome["provider"], outcome["source"], outcome["attempts"]) == ("openrouter", "nightly", 2)
    assert outcome["output_total"] > 0
    assert outcome["cost_usd"] is None
    assert outcome["queue_wait_s"] >= 0
    everything = "".join(texts) + workers.log(process)
    assert SECRET not in everything
    assert (job.text or "?") not in everything
    assert "test-key" not in everything


async def test_keys_never_reach_redis(
    workers: WorkerRunner, producer: Producer, redis_server: RedisServer
) -> None:
    """Neither a good answer nor a rejected key leaves it there."""
    workers.start()
    for model in ("openrouter/v/m", "openrouter/v/sim-fault-bad-key", "gpt-oss:cloud"):
        await producer.wait(await producer.submit(chat(model)), timeout_s=20)
    with redis_server.client() as raw:
        assert all("test-key" not in dump_of(raw, key) for key in raw.scan_iter())


def dump_of(raw: redis.Redis, key: str) -> str:
    readers = {"hash": raw.hgetall, "set": raw.smembers, "string": raw.get}
    kind = raw.type(key)
    if kind == "zset":
        return str(raw.zrange(key, 0, -1))
    if kind == "stream":
        return str(raw.xrange(key))
    return str(raw.lrange(key, 0, -1) if kind == "list" else readers[kind](key))


async def test_lost_redis_costs_no_call(
    workers: WorkerRunner, producer: Producer, simulator: Simulator, redis_server: RedisServer
) -> None:
    """Redis stands still while the answer comes: it is settled afterwards, and asked for once."""
    workers.start(CHATQ_REDIS__SOCKET_TIMEOUT_S="0.2")
    job_id = await producer.submit(chat("sim-latency-0.3"))
    await wait_until(lambda: bool(simulator.stats()["in_flight"]))
    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)
    await wait_until(lambda: len(simulator.calls) == 1)
    await asyncio.sleep(1.0)  # several time-outs of the worker's client
    redis_server.process.send_signal(signal.SIGCONT)
    assert (await producer.wait(job_id, timeout_s=20)).state is JobState.COMPLETED
    assert len(simulator.calls) == 1


LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
runpy.run_module("worker", run_name="__main__")
"""


async def test_worker_has_no_more_slots_than_files(workers: WorkerRunner, producer: Producer) -> None:
    """What could only fail is not begun; the log says what to raise."""
    process = workers.start("--concurrency", "100", module=("-c", LIMITED))
    job_id = await producer.submit(chat())
    assert (await producer.wait(job_id, timeout_s=20)).state is JobState.COMPLETED
    log = workers.log(process)
    assert "32 slots instead of 100" in log
    assert "ulimit -n" in log


async def test_worker_without_providers_refuses(workers: WorkerRunner) -> None:
    """A worker that could do nothing says so and exits 3."""
    process = workers.start(
        ready=False, CHATQ_PROVIDERS__OLLAMA__BASE_URL="", OLLAMA_CLOUD_KEY="", OPENROUTER_API_KEY=""
    )
    assert await ended(process) == 3
    assert "no provider is registered" in workers.log(process)


async def test_unknown_provider_is_a_clear_error(workers: WorkerRunner) -> None:
    """`--providers` names one that is not registered: exit 4."""
    process = workers.start("--providers", "kimi", ready=False)
    assert await ended(process) == 4
    assert "KIMI_API_KEY" in workers.log(process)


async def test_unreachable_redis_exits_5(workers: WorkerRunner) -> None:
    """At start it does not wait for ever."""
    process = workers.start(ready=False, CHATQ_REDIS_URL="redis://127.0.0.1:1/0")
    assert await ended(process) == 5
    assert "CHATQ_REDIS_URL" in workers.log(process)
