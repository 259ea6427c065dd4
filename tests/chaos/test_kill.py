"""kill -9 at each step, under 2,000 jobs: nothing lost, nothing answered twice, nobody else's answer."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from producer import Job, Lane, Producer, Submission
from shared.providers import ProviderRegistry
from shared.settings import Settings, load_settings
from simulator import Simulator, text_digest
from tests.chaos.checker import Broken, check
from tests.support import KEYS, SERVERS, RedisServer, WorkerRunner, provider_env, wait_until

JOBS = 2_000
RECOVERY_S = 45.0

BOMB = ("-m", "tests.chaos.worker_main")
SHORT_LEASES = {"CHATQ_WORKER__LEASE_S": "2", "CHATQ_WORKER__RENEW_S": "0.5"}
"""Recovery takes a lease and a rescuer's round; the default of 30 s has a test of its own."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test's own, with an append-only file, as in production."""
    running = RedisServer(SERVERS[max(SERVERS)], tmp_path, appendonly="yes", appendfsync="everysec")
    running.start()
    yield running
    running.kill()


@pytest.fixture
def chaos_settings(server: RedisServer, simulator: Simulator, tmp_path: Path) -> Settings:
    env = {"HOME": str(tmp_path), "CHATQ_REDIS_URL": server.url, **provider_env(simulator.url)}
    return load_settings(env=env)


@pytest.fixture
async def chaos_producer(chaos_settings: Settings) -> AsyncIterator[Producer]:
    registry = ProviderRegistry.from_settings(chaos_settings, env=KEYS)
    async with Producer.open(chaos_settings, registry=registry) as producer:
        yield producer


@pytest.fixture
def raw(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def fleet(
    server: RedisServer, simulator: Simulator, tmp_path: Path, raw: redis.Redis
) -> Iterator[WorkerRunner]:
    simulator.set(latency="uniform:0.01,0.15")
    runner = WorkerRunner(server.url, simulator.url, tmp_path, raw)
    yield runner
    runner.kill_all()


class Run:
    """2,000 jobs on their way: what was acknowledged, and what a poller has seen of them."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self.accepted: dict[str, str] = {}
        self.seen: dict[str, str | None] = {}
        self.watch = producer.watch()

    async def submit(self) -> None:
        texts = [f"question {n}" for n in range(JOBS)]
        submissions = [
            Submission({"model": "m", "messages": [{"role": "user", "content": text}]}, lane=Lane.BATCH)
            for text in texts
        ]
        ids = await self.watch.submit_many(submissions)
        self.accepted = {str(i): text_digest("m", "", text) for i, text in zip(ids, texts, strict=True)}

    def note(self, job: Job) -> None:
        self.seen[job.id] = job.text

    async def collect(self) -> None:
        async for job in self.watch:
            self.note(job)


async def finish(run: Run, since: float) -> float:
    """Collect everything; returns the seconds since the blow."""
    async with asyncio.timeout(RECOVERY_S + 5):
        await run.collect()
    return time.monotonic() - since


@pytest.mark.parametrize("step", ["claimed:4", "sent:300", "answered:300", "finalize_sent:5"])
async def test_killed_worker_loses_nothing(
    chaos_producer: Producer, fleet: WorkerRunner, simulator: Simulator, raw: redis.Redis, step: str
) -> None:
    """A worker dies at this step with hundreds of jobs in hand; another one, started later, finishes them."""
    run = Run(chaos_producer)
    async with run.watch:
        await run.submit()
        bomb = fleet.start(module=BOMB, ready=False, CHAOS_FAILPOINT=step, **SHORT_LEASES)
        assert await asyncio.to_thread(bomb.wait, 30) == -signal.SIGKILL
        died = time.monotonic()
        fleet.start(**SHORT_LEASES)
        assert await finish(run, died) <= RECOVERY_S
    check(accepted=run.accepted, calls=simulator.calls, snapshot=raw, seen=run.seen)


async def pause_a_worker(
    run: Run, fleet: WorkerRunner, simulator: Simulator, raw: redis.Redis, **env: str
) -> None:
    """A worker stands still for longer than its leases, and wakes up with answers nobody waits for."""
    simulator.set(latency="fixed:1")
    async with run.watch:
        await run.submit()
        sleeper = fleet.start(module=BOMB, **SHORT_LEASES, **env)
        await wait_until(lambda: simulator.stats()["in_flight"] >= 200)
        sleeper.send_signal(signal.SIGSTOP)
        blow = time.monotonic()
        try:
            fleet.start(module=BOMB, **SHORT_LEASES, **env)
            await finish(run, blow)
        finally:
            sleeper.send_signal(signal.SIGCONT)
    await wait_until(lambda: int(raw.hget("chatq:totals", "stale") or 0) > 0 or bool(env), timeout_s=30)
    sleeper.terminate()
    await asyncio.to_thread(sleeper.wait, 40)
    check(accepted=run.accepted, calls=simulator.calls, snapshot=raw, seen=run.seen)


async def test_stale_answers_change_nothing(
    chaos_producer: Producer, fleet: WorkerRunner, simulator: Simulator, raw: redis.Redis
) -> None:
    """The fence holds: the first outcome stays, the late ones are counted and dropped."""
    await pause_a_worker(Run(chaos_producer), fleet, simulator, raw)


async def test_checker_sees_a_missing_fence(
    chaos_producer: Producer, fleet: WorkerRunner, simulator: Simulator, raw: redis.Redis
) -> None:
    """The same run with the fence taken out of the script must not pass."""
    with pytest.raises(Broken, match=r"not every job completed|without exactly one outcome"):
        await pause_a_worker(Run(chaos_producer), fleet, simulator, raw, CHAOS_MUTATION="no-fence")


async def test_killed_redis_loses_nothing(
    chaos_producer: Producer, fleet: WorkerRunner, simulator: Simulator, raw: redis.Redis, server: RedisServer
) -> None:
    """kill -9 of Redis in the middle, restarted on its append-only file: calls go on, nothing is asked again."""
    run = Run(chaos_producer)
    async with run.watch:
        await run.submit()
        fleet.start(**SHORT_LEASES)
        await wait_until(lambda: len(simulator.calls) >= 500)
        server.kill()
        blow = time.monotonic()
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.start)
        assert await finish(run, blow) <= RECOVERY_S
    check(accepted=run.accepted, calls=simulator.calls, snapshot=raw, seen=run.seen)


@pytest.mark.timeout(90)
async def test_default_leases_recover_in_time(
    chaos_producer: Producer, fleet: WorkerRunner, simulator: Simulator, raw: redis.Redis
) -> None:
    """With 30 s leases, what a killed worker held is done elsewhere within 45 s."""
    run = Run(chaos_producer)
    async with run.watch:
        await run.submit()
        bomb = fleet.start(module=BOMB, ready=False, CHAOS_FAILPOINT="answered:200")
        assert await asyncio.to_thread(bomb.wait, 30) == -signal.SIGKILL
        died = time.monotonic()
        fleet.start()
        assert await finish(run, died) <= RECOVERY_S
    check(accepted=run.accepted, calls=simulator.calls, snapshot=raw, seen=run.seen)
