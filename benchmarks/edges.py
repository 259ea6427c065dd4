"""The edges: how fast jobs go in, how soon an idle system acts, and what a job costs in Redis."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from statistics import quantiles

import httpx
import orjson

from benchmarks.lab import WORKER_CORE, Lab, request
from producer import Lane, Producer, Submission


def submit_rate(*, jobs: int) -> float:
    """(d) Jobs per second of one `submit_many`, on the core of the worker, which does not run."""

    async def run(lab: Lab) -> float:
        async with Producer.open(lab.settings, registry=lab.registry) as producer:
            body = request().body()
            started = time.perf_counter()
            results = await producer.submit_many(Submission(body, lane=Lane.BATCH) for _ in range(jobs))
            took_s = time.perf_counter() - started
            if not all(isinstance(r, str) for r in results):
                raise RuntimeError("a submission was rejected")
            return jobs / took_s

    with Lab() as lab:
        os.sched_setaffinity(0, {WORKER_CORE})
        return asyncio.run(run(lab))


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds."""

    p50: float
    p99: float


def idle_latency(*, jobs: int) -> tuple[Latency, Latency]:
    """(e) On an idle system, one job at a time: submit → upstream, and upstream's answer → waiter."""
    with Lab(latency_s=0.005) as lab:
        lab.worker(concurrency=100)
        return asyncio.run(_latencies(lab, jobs))


async def _latencies(lab: Lab, jobs: int) -> tuple[Latency, Latency]:
    sent: dict[str, float] = {}
    told: dict[str, float] = {}
    async with Producer.open(lab.settings, registry=lab.registry) as producer:
        for n in range(jobs):
            at = time.time()
            job_id = await producer.submit(request(n), lane=Lane.INTERACTIVE)
            await producer.wait(job_id, timeout_s=30)
            sent[job_id], told[job_id] = at, time.time()
            await asyncio.sleep(0.005)
    log = httpx.get(f"{lab.upstream}/_sim/log", timeout=30).text
    calls = {row["job"]: row for row in map(orjson.loads, log.splitlines())}
    submit = [calls[job_id]["arrived_at"] - at for job_id, at in sent.items()]
    finish = [at - calls[job_id]["ended_at"] for job_id, at in told.items()]
    return _percentiles(submit[10:]), _percentiles(finish[10:])


def _percentiles(seconds: list[float]) -> Latency:
    cuts = quantiles(seconds, n=100)
    return Latency(cuts[49] * 1000, cuts[98] * 1000)


def bytes_per_job(*, jobs: int) -> tuple[float, float]:
    """(f) Redis memory per queued and per finished job (1 kB request, 0.7 kB answer), light mirror."""

    async def run(lab: Lab) -> tuple[float, float]:
        empty = _used(lab)
        async with Producer.open(lab.settings, registry=lab.registry) as producer:
            await producer.submit_many(Submission(request(n), lane=Lane.BATCH) for n in range(jobs))
        queued = _used(lab)
        lab.worker(concurrency=100)
        await lab.until_completed(jobs, timeout_s=120)
        return (queued - empty) / jobs, (_used(lab) - empty) / jobs

    # Events are a capped stream, not a cost of a job.
    with Lab(env={"CHATQ_TELEMETRY__ENABLED": "false"}) as lab:
        return asyncio.run(run(lab))


def _used(lab: Lab) -> int:
    return int(lab.redis.info("memory")["used_memory"])
