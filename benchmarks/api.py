"""Jobs over HTTP: how fast one API process takes them, one a call and in bulk, and how soon it tells their end."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from statistics import quantiles

import aiohttp
import orjson

from benchmarks.lab import OTHER_CORE, PROVIDER, Lab, request
from shared.garbage_collector import calm_collector

CONNECTIONS = 64

PART_LINES = 200
"""Lines that the driver hands to its socket at a time."""

SPREAD, MEAN_S = "uniform:0.2,1.8", 1.0
"""How long the upstream takes, so that jobs do not end in salvos."""

POLL_S = 120
"""Longer than the run: each poll is answered by its job's end."""


def _job(number: int = 0) -> bytes:
    return orjson.dumps({"request": request(number).body(), "lane": "batch"})


def post_rate(*, jobs: int) -> float:
    """(j) Jobs per second by `POST /v1/jobs`, over 64 connections. No worker runs: the API has its core."""
    with Lab() as lab:
        _, address = lab.api()
        return asyncio.run(_post_all(f"{address}/v1/jobs", jobs))


async def _post_all(url: str, jobs: int) -> float:
    numbers, payload, headers = iter(range(jobs)), _job(), {"Content-Type": "application/json"}
    async with _session(CONNECTIONS) as session:

        async def post() -> None:
            for _ in numbers:
                async with session.post(url, data=payload, headers=headers) as reply:
                    if reply.status != 202:
                        raise RuntimeError(await reply.text())
                    await reply.read()

        started = time.perf_counter()
        await asyncio.gather(*(post() for _ in range(CONNECTIONS)))
        return jobs / (time.perf_counter() - started)


def bulk_rate(*, jobs: int) -> float:
    """(j) Jobs per second by one `POST /v1/jobs/bulk`, its answers read meanwhile."""
    with Lab() as lab:
        _, address = lab.api()
        return asyncio.run(_send_bulk(f"{address}/v1/jobs/bulk", jobs))


async def _send_bulk(url: str, jobs: int) -> float:
    part = (_job() + b"\n") * PART_LINES

    async def body() -> AsyncIterator[bytes]:
        for _ in range(jobs // PART_LINES):
            yield part

    accepted = 0
    started = time.perf_counter()
    async with (
        _session(1) as session,
        session.post(url, data=body(), headers={"Content-Type": "application/x-ndjson"}) as reply,
    ):
        async for some in reply.content.iter_any():
            accepted += some.count(b'"queued"')
    took_s = time.perf_counter() - started
    if accepted != jobs:
        raise RuntimeError(f"{accepted} of {jobs} jobs were accepted")
    return jobs / took_s


@dataclass(frozen=True, slots=True)
class WakeUps:
    """From a job's end in the store to the answer at its poller, in milliseconds, and how many ended a second."""

    p50: float
    p99: float
    per_s: float


def poll_wake_ups(*, polls: int, jobs: int, per_s: int) -> WakeUps:
    """(j) So many long polls open at one API process all the time; a worker ends about `per_s` jobs a second."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Lab() as lab:
        upstream = lab.start_upstream("spread", "--latency", SPREAD)
        lab.reload({f"CHATQ_PROVIDERS__{PROVIDER.upper()}__BASE_URL": f"{upstream}/v1"})
        lab.hold()
        lab.worker(concurrency=round(per_s * MEAN_S), core=OTHER_CORE)
        _, address = lab.api()
        return asyncio.run(_poll_all(lab, f"{address}/v1/jobs", polls, polls + jobs))


async def _poll_all(lab: Lab, url: str, polls: int, jobs: int) -> WakeUps:
    """Every poll that ends is followed by one for the next job; measured is while all of them are open."""
    waited: list[float] = []
    async with _session(polls) as session:
        body = b"".join(_job(n) + b"\n" for n in range(jobs))
        async with session.post(f"{url}/bulk", data=body) as reply:
            ids = [orjson.loads(line)["id"] async for line in reply.content]
        left = iter(ids)

        async def poll(job_id: str) -> None:
            async with session.get(f"{url}/{job_id}", params={"wait": POLL_S}) as reply:
                text = await reply.read()
            at = time.time()
            job = orjson.loads(text)
            if job["status"] != "completed":
                raise RuntimeError(f"a poll was answered with a job that is {job['status']}")
            waited.append(at - job["ended_at"])

        async def keep_polling() -> None:
            for job_id in left:
                await poll(job_id)

        pollers = [asyncio.create_task(keep_polling()) for _ in range(polls)]
        while not _are_waited_for(lab, ids[:polls]):
            await asyncio.sleep(0.2)
        calm_collector()  # of the driver: it holds 5,000 calls, too, and would stand still for some 0.2 s
        started = time.perf_counter()
        lab.let_go()
        await asyncio.gather(*pollers)
        took_s = time.perf_counter() - started
    cuts = quantiles(waited[: jobs - polls], n=100)
    return WakeUps(cuts[49] * 1000, cuts[98] * 1000, jobs / took_s)


def _are_waited_for(lab: Lab, ids: Sequence[str]) -> bool:
    with lab.redis.pipeline(transaction=False) as pipe:
        for job_id in ids:
            pipe.hexists(f"rq:job:{job_id}", "cq_notify")
        return all(pipe.execute())


def _session(connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
    )
