"""Chat completions over HTTP: what the queue adds to a call, and how many a core carries, beside LiteLLM's proxy.

The proxy is installed into an environment of its own (`.bench/litellm`), which nothing else uses.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import aiohttp
import orjson
import psutil

from benchmarks.lab import PROVIDER, WORKER_CORE, Lab, body

IN_FLIGHT = 64

LITELLM = Path(__file__).parent.parent / ".bench" / "litellm"

LITELLM_ENV = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "LITELLM_LOG": "ERROR",
}
"""Nothing is fetched, nobody is asked for a key, as in chatq's own default on the loopback interface."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """What one call takes at low load, in milliseconds."""

    direct_p50: float
    queued_p50: float
    queued_p99: float

    @property
    def added_p50(self) -> float:
        """What the queue adds."""
        return self.queued_p50 - self.direct_p50


@dataclass(frozen=True, slots=True)
class Carried:
    """Requests and the CPU seconds they took, of all processes of a system but the upstream."""

    per_s: float
    per_cpu_s: float


def overhead(*, calls: int, latency_s: float) -> Overhead:
    """(k) One call at a time to an upstream that takes so long, straight and through the queue.

    The longer it takes, the less is left of chatq in the processor's caches, and the longer takes the same work.
    """
    with Lab(latency_s=latency_s, is_pinned=False) as lab:
        lab.worker(concurrency=100)
        _, api = lab.api()
        direct = asyncio.run(_times(f"{lab.upstream}/v1/chat/completions", body(), calls))
        queued = asyncio.run(_times(f"{api}/v1/chat/completions", _queued_body(), calls))
    cuts = quantiles(queued, n=100)
    return Overhead(quantiles(direct, n=100)[49], cuts[49], cuts[98])


def carried(*, calls: int) -> Carried:
    """(k) chatq: an API process and a worker on one core, Redis and the upstream on the other."""
    with Lab() as lab:
        worker = lab.worker(concurrency=500)
        api, address = lab.api(core=WORKER_CORE)
        server = lab.redis.info("server")["process_id"]
        return _carried(
            f"{address}/v1/chat/completions", _queued_body(), calls, [worker.pid, api.pid, server]
        )


def carried_by_litellm(*, calls: int) -> Carried:
    """(k) LiteLLM's proxy, one process, in front of the same upstream."""
    _install_litellm()
    with Lab() as lab:
        config = lab.folder / "litellm.yaml"
        config.write_text(
            "model_list:\n- model_name: small\n  litellm_params:\n    model: openai/small\n"
            f"    api_base: {lab.upstream}/v1\n    api_key: none\n"
        )
        port = lab.free_port()
        command = ["-m", "litellm.proxy.proxy_cli", "--config", str(config), "--host", "127.0.0.1"]
        env = {"PATH": os.environ["PATH"], "HOME": str(lab.folder), **LITELLM_ENV}
        process = lab.spawn(
            [*command, "--port", str(port), "--num_workers", "1"],
            core=WORKER_CORE, env=env, python=str(LITELLM / "bin" / "python"),
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        lab.until_answers(f"{address}/health/liveliness", process, timeout_s=120)
        return _carried(f"{address}/v1/chat/completions", body(), calls, [process.pid])


def _install_litellm() -> None:
    if not (LITELLM / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(LITELLM)], check=True)
        pip = [str(LITELLM / "bin" / "pip"), "install", "--quiet", "litellm[proxy]"]
        subprocess.run(pip, check=True)


def _queued_body() -> bytes:
    return orjson.dumps({**orjson.loads(body()), "model": f"{PROVIDER}/small"})


async def _times(url: str, payload: bytes, calls: int) -> list[float]:
    """Milliseconds of each call, one after the other."""
    times = []
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        for _ in range(calls):
            started = time.perf_counter()
            await _ask(session, url, payload)
            times.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.005)
    return times[calls // 10 :]


def _carried(url: str, payload: bytes, calls: int, pids: Sequence[int]) -> Carried:
    processes = [each for pid in pids for each in (psutil.Process(pid), *psutil.Process(pid).children(True))]
    asyncio.run(_load(url, payload, calls // 10))
    used_s = sum(_cpu_s(process) for process in processes)
    took_s = asyncio.run(_load(url, payload, calls))
    used_s = sum(_cpu_s(process) for process in processes) - used_s
    return Carried(calls / took_s, calls / used_s)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _load(url: str, payload: bytes, calls: int) -> float:
    """Seconds for so many calls, `IN_FLIGHT` at a time."""
    left = calls
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, headers={"Content-Type": "application/json"}
    ) as session:

        async def loop() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await _ask(session, url, payload)

        started = time.perf_counter()
        await asyncio.gather(*(loop() for _ in range(IN_FLIGHT)))
        return time.perf_counter() - started


async def _ask(session: aiohttp.ClientSession, url: str, payload: bytes) -> None:
    async with session.post(url, data=payload, headers={"Authorization": "Bearer x"}) as response:
        answer = orjson.loads(await response.read())
    if not answer.get("choices"):
        raise RuntimeError(f"no answer: {answer}")
