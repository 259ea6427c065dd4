"""Background roles: when they hold off, when they hurry, and what happens when one dies."""

from __future__ import annotations

import asyncio
import signal
import time

import orjson
import pytest

from producer import JobState, Producer
from shared.store.queue_keeper import Rescued
from simulator import Simulator
from tests.support import RedisServer, WorkerRunner, ended, wait_until
from worker.promoter import Promoter
from worker.rescuer import Rescuer

CHAT = {"model": "qwen3.5", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}


class Keeper:
    """What the roles ask of the store, with a clock that a test can move."""

    CHUNK = 100

    def __init__(self) -> None:
        self.offset_s = 0.0
        self.rounds = 0
        self.promotions: list[float] = []

    async def now(self) -> float:
        return time.monotonic() + self.offset_s

    async def rescue(self) -> Rescued:
        self.rounds += 1
        return Rescued([], [], [])

    async def promote(self) -> float | None:
        self.promotions.append(time.monotonic())
        return None


async def test_rescuer_holds_off_after_a_clock_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """All leases run out at once then; their owners get time to renew them."""
    monkeypatch.setattr("worker.rescuer.INTERVAL_S", 0.01)
    keeper = Keeper()
    role = asyncio.create_task(Rescuer(keeper, grace_s=60).run())  # type: ignore[arg-type]
    await wait_until(lambda: keeper.rounds >= 2)
    keeper.offset_s = 600
    await asyncio.sleep(0.05)
    rounds = keeper.rounds
    await asyncio.sleep(0.1)
    role.cancel()
    assert keeper.rounds - rounds == 0


async def test_promoter_comes_back_when_a_job_is_due() -> None:
    """A job parked for 50 ms is not left to the poll of a minute."""
    keeper = Keeper()
    promoter = Promoter(keeper, poll_s=60)  # type: ignore[arg-type]
    role = asyncio.create_task(promoter.run())
    await wait_until(lambda: len(keeper.promotions) == 1)
    promoter.parked(0.05)
    await wait_until(lambda: len(keeper.promotions) == 2, timeout_s=10)
    role.cancel()
    assert keeper.promotions[1] - keeper.promotions[0] >= 0.05


async def test_odd_record_fails_its_job_only(
    workers: WorkerRunner, producer: Producer, redis_server: RedisServer
) -> None:
    """A record nested too deep to be written again does not cost the worker a slot."""
    job_id, good = await producer.submit(CHAT), await producer.submit(CHAT)
    info = {"candidates": [["ollama", "qwen3.5"]], "client": orjson.loads("[" * 200 + "]" * 200)}
    with redis_server.client() as raw:
        raw.hset(f"rq:job:{job_id}", "cq_info", orjson.dumps(info))
    process = workers.start("--burst", ready=False)
    assert await ended(process) == 0
    assert (await producer.get(good)).state is JobState.COMPLETED
    assert (await producer.get(job_id)).state is JobState.FAILED


async def test_worker_leaves_when_redis_is_gone(
    workers: WorkerRunner, producer: Producer, simulator: Simulator, redis_server: RedisServer
) -> None:
    """Two SIGTERMs end it although nothing can be settled; the exit code says so."""
    process = workers.start(
        CHATQ_REDIS__SOCKET_TIMEOUT_S="0.2", CHATQ_WORKER__GRACE_S="600", CHATQ_REDIS__RETRY_S="0.2"
    )
    await producer.submit({**CHAT, "model": "sim-latency-0.2"})
    await wait_until(lambda: bool(simulator.stats()["in_flight"]))
    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        process.terminate()
        await wait_until(lambda: "asked to stop" in workers.log(process))
        process.terminate()
        assert await ended(process) == 5
    finally:
        redis_server.process.send_signal(signal.SIGCONT)


async def test_role_that_dies_takes_the_worker_down(workers: WorkerRunner) -> None:
    """A bug in a background role is an exit with an error, not a worker that only seems well."""
    bomb = ("-m", "tests.chaos.worker_main")
    process = workers.start(module=bomb, ready=False, CHAOS_FAILPOINT="janitor_dies")
    assert await ended(process) == 1
    assert "janitor ended" in workers.log(process)
