"""Fairness under limits: who waits for whom, measured on one worker process and a simulated provider."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from statistics import quantiles

import orjson

from benchmarks.lab import PROVIDER, Lab
from producer import JobState, Lane, Producer, Submission


def _chat(model: str, text: str, max_tokens: int = 32) -> dict[str, object]:
    messages = [{"role": "user", "content": text}]
    return {"model": f"{PROVIDER}/{model}", "messages": messages, "max_tokens": max_tokens}


def head_of_line(*, others: int) -> float:
    """Seconds until the first job of a free model is answered that stands behind jobs of a model at its limit."""
    limits = {f"CHATQ_PROVIDERS__{PROVIDER.upper()}__MODELS": '{ "blocked" = { limits = { rpm = 6 } } }'}
    with Lab(latency_s=0.01, env=limits) as lab:
        return asyncio.run(_head_of_line(lab, others))


async def _head_of_line(lab: Lab, others: int) -> float:
    lab.hold()
    async with Producer.open(lab.settings, registry=lab.registry) as producer:
        blocked = [Submission(_chat("blocked", f"#{n}"), lane=Lane.BATCH) for n in range(others)]
        await producer.submit_many(blocked)
        lab.worker(concurrency=200)
        job_id = await producer.submit(_chat("free", "hello"), lane=Lane.BATCH)
        lab.let_go()
        started = time.perf_counter()
        job = await producer.wait(job_id, timeout_s=30)
        if job.state is not JobState.COMPLETED:
            raise RuntimeError(f"the job ended {job.state}")
        return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Beside:
    """How long interactive jobs waited in the queue beside a batch, in milliseconds."""

    p50: float
    p99: float
    batch_per_s: float


def interactive_beside_batch(*, batch: int, rpm: int, per_s: float, seconds: float) -> Beside:
    """Interactive jobs at a steady pace, within their lane's share, beside a batch that wants everything."""
    limits = {f"CHATQ_PROVIDERS__{PROVIDER.upper()}__LIMITS__RPM": str(rpm)}
    with Lab(latency_s=0.1, env=limits) as lab:
        return asyncio.run(_beside(lab, batch, per_s, seconds))


async def _beside(lab: Lab, batch: int, per_s: float, seconds: float) -> Beside:
    async with Producer.open(lab.settings, registry=lab.registry) as producer:
        await producer.submit_many(Submission(_chat("small", f"#{n}"), lane=Lane.BATCH) for n in range(batch))
        lab.worker(concurrency=500)
        await asyncio.sleep(2)
        dice, ids = random.Random(1), []
        give_up_at = time.perf_counter() + seconds
        while time.perf_counter() < give_up_at:
            ids.append(await producer.submit(_chat("small", f"q{len(ids)}"), lane=Lane.INTERACTIVE))
            await asyncio.sleep(dice.expovariate(per_s))
        waits_ms = []
        for job_id in ids:
            job = await producer.wait(job_id, timeout_s=30)
            if job.started_at is None or job.created_at is None or job.state is not JobState.COMPLETED:
                raise RuntimeError(f"an interactive job ended {job.state}")
            waits_ms.append((job.started_at - job.created_at) * 1000)
        done = int(lab.redis.hget("chatq:totals", "completed") or 0) - len(ids)
    cuts = quantiles(waits_ms, n=100)
    return Beside(cuts[49], cuts[98], done / (seconds + 2))


def two_clients(*, jobs: int, tpm: int, seconds: float) -> float:
    """Tokens of one client against those of another of the same weight; the first has long jobs, and came first."""
    limits = {f"CHATQ_PROVIDERS__{PROVIDER.upper()}__LIMITS__TPM": str(tpm)}
    with Lab(latency_s=0.05, env=limits) as lab:
        return asyncio.run(_two_clients(lab, jobs, seconds))


async def _two_clients(lab: Lab, jobs: int, seconds: float) -> float:
    lab.hold()
    async with Producer.open(lab.settings, registry=lab.registry) as producer:
        for client, words, out in (("long", 400, 256), ("short", 10, 16)):
            text = "word " * words
            await producer.submit_many(
                Submission(_chat("small", f"{client} {n} {text}", out), client=client) for n in range(jobs)
            )
        lab.worker(concurrency=500)
        lab.let_go()
        await asyncio.sleep(seconds)
        lab.hold()
    served: Counter[str] = Counter()
    for _, fields in lab.redis.xrange("chatq:events"):
        event = orjson.loads(fields.get("attempt", "{}"))
        if "outcome" in fields and event.get("status") == 200:
            served[event["client"]] += event["input_total"] + event["output_total"]
    return served["long"] / served["short"]
