"""Throughput: one worker process against a bare loop and stock RQ, and against the ideal of slow upstreams."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from dataclasses import dataclass
from statistics import median

import psutil
from rq import Queue
from rq.serializers import JSONSerializer

from benchmarks.lab import PROVIDER, WORKER_CORE, Lab, body, request
from producer import Lane, Producer, Submission

IN_FLIGHT = 100
"""Of the bare loop, which is at its best with so many."""

SLOTS = 500
"""Of the worker: the default."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Jobs (or calls) per second, medians over the rounds, and each round."""

    bare: list[float]
    chatq: list[float]
    stock: list[float]

    @property
    def of_bare(self) -> float:
        """Share of the bare loop that chatq reaches: the median of the rounds' ratios."""
        return median(c / b for c, b in zip(self.chatq, self.bare, strict=True))

    @property
    def times_stock(self) -> float:
        """How many times stock RQ's speed."""
        return median(c / s for c, s in zip(self.chatq, self.stock, strict=True))


def compare(*, jobs: int, stock_jobs: int, rounds: int) -> Compared:
    """(a) Zero-latency upstream: the three in turn, on the same core, `rounds` times."""
    bare, chatq, stock = [], [], []
    for _ in range(rounds):
        with Lab() as lab:
            bare.append(_bare(lab, jobs))
            stock.append(_stock(lab, stock_jobs))
            lab.redis.flushall()
            chatq.append(jobs / asyncio.run(_preloaded(lab, jobs, concurrency=SLOTS, timeout_s=120)))
    return Compared(bare, chatq, stock)


def _bare(lab: Lab, jobs: int) -> float:
    url = f"{lab.upstream}/v1/chat/completions"
    return _measured(["-m", "benchmarks.bare", url, str(jobs), str(IN_FLIGHT)])


def _stock(lab: Lab, jobs: int) -> float:
    queue = Queue("stock", connection=lab.redis, serializer=JSONSerializer)
    url, payload = f"{lab.upstream}/v1/chat/completions", body().decode()
    calls = [Queue.prepare_data("benchmarks.stock.call", args=(url, payload)) for _ in range(jobs)]
    queue.enqueue_many(calls)
    return _measured(["-m", "benchmarks.stock", lab.redis_url.removeprefix("unix://"), str(jobs)])


def _measured(arguments: list[str]) -> float:
    command = ["taskset", "-c", str(WORKER_CORE), sys.executable, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


async def _preloaded(lab: Lab, jobs: int, *, concurrency: int, timeout_s: float) -> float:
    """Seconds from the start signal to the last stored result, all jobs queued before."""
    lab.hold()
    async with Producer.open(lab.settings, registry=lab.registry) as producer:
        await producer.submit_many(Submission(request(n), lane=Lane.BATCH) for n in range(jobs))
    lab.worker(concurrency=concurrency)
    lab.let_go()
    took_s = await lab.until_completed(jobs, timeout_s=timeout_s)
    finished = lab.redis.zcard(f"rq:finished:{PROVIDER}.batch")
    if finished != jobs:
        raise RuntimeError(f"{finished} of {jobs} results are there")
    return took_s


@dataclass(frozen=True, slots=True)
class Slow:
    """A run against a slow upstream.

    Attributes:
        jobs_per_s: Over the whole run, ramp and tail included.
        ideal: In flight divided by latency.
        rss_mb: The worker's largest resident set, in MB.
        cpu_share: The worker's CPU time over the wall time.
    """

    jobs_per_s: float
    ideal: float
    rss_mb: float
    cpu_share: float


def slow_upstream(*, latency_s: float, in_flight: int, jobs: int) -> Slow:
    """(b), (c) A slow upstream with many calls in flight in one process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Lab(latency_s=latency_s) as lab:
        return asyncio.run(_slow(lab, latency_s, in_flight, jobs))


async def _slow(lab: Lab, latency_s: float, in_flight: int, jobs: int) -> Slow:
    lab.hold()
    async with Producer.open(lab.settings, registry=lab.registry) as producer:
        await producer.submit_many(Submission(request(n), lane=Lane.BATCH) for n in range(jobs))
    process = psutil.Process(lab.worker(concurrency=in_flight).pid)
    peak = 0

    async def watch_memory() -> None:
        nonlocal peak
        while True:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch_memory())
    cpu_before = sum(process.cpu_times()[:2])
    lab.let_go()
    took_s = await lab.until_completed(jobs, timeout_s=60 + 4 * jobs * latency_s / in_flight)
    watching.cancel()
    cpu_s = sum(process.cpu_times()[:2]) - cpu_before
    return Slow(jobs / took_s, in_flight / latency_s, peak / 1e6, cpu_s / took_s)
