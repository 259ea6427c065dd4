"""Streamed chat completions: what the queue adds to the time to the first token."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import quantiles

import aiohttp
import orjson

from benchmarks.lab import PROVIDER, Lab, body


@dataclass(frozen=True, slots=True)
class FirstToken:
    """Milliseconds from sending a call to the first piece of its answer, at low load."""

    direct_p50: float
    direct_p99: float
    queued_p50: float
    queued_p99: float

    @property
    def added_p50(self) -> float:
        """What the queue adds."""
        return self.queued_p50 - self.direct_p50

    @property
    def added_p99(self) -> float:
        """The same of the slowest calls."""
        return self.queued_p99 - self.direct_p99


def first_token(*, calls: int) -> FirstToken:
    """One streamed call at a time to an upstream whose first piece takes 20 ms, straight and through the queue."""
    with Lab(latency_s=0.02, is_pinned=False) as lab:
        lab.worker(concurrency=100)
        _, api = lab.api()
        direct = asyncio.run(_times(f"{lab.upstream}/v1/chat/completions", "small", calls))
        queued = asyncio.run(_times(f"{api}/v1/chat/completions", f"{PROVIDER}/small", calls))
    straight, through = quantiles(direct, n=100), quantiles(queued, n=100)
    return FirstToken(straight[49], straight[98], through[49], through[98])


async def _times(url: str, model: str, calls: int) -> list[float]:
    """Milliseconds of each call, one after the other; the first few, which connect, are left out."""
    asked = orjson.dumps({**orjson.loads(body()), "model": model, "stream": True})
    times = []
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        for _ in range(calls + 10):
            times.append(await _first_piece_ms(session, url, asked))
    return times[10:]


async def _first_piece_ms(session: aiohttp.ClientSession, url: str, asked: bytes) -> float:
    started = time.perf_counter()
    took_ms = None
    async with session.post(url, data=asked) as response:
        async for line in response.content:
            if took_ms is None and b'"content":"' in line and b'"content":""' not in line:
                took_ms = (time.perf_counter() - started) * 1000
    if took_ms is None:
        raise RuntimeError(f"{url} answered {response.status} without a piece of text")
    return took_ms
