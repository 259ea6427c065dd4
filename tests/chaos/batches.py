"""A batch over the HTTP API while its processes are killed: `python -m tests.chaos.batches --lines 20000 --seed 1`.

API, batcher and worker are real processes on one Redis. They are killed with SIGKILL at random times, again and
again, and started anew, until the batch has ended. Then there is one line for each line of the input over both
result files, and no line was called more often than its attempts and the deaths of workers allow.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson

from shared.store.jobs import id_from_key
from simulator import Simulator, SimulatorConfig
from tests.ports import reserved_port
from tests.support import ROOT, SERVERS, RedisServer, provider_env

ATTEMPTS = 3
"""Of a job, as the settings have it."""

COMMANDS = {
    "api": ("-m", "producer", "api"),
    "batcher": ("-m", "producer", "batcher"),
    "worker": ("-m", "worker", "--concurrency", "200"),
}

SIGNS = {"api": b"serving at", "batcher": b"is ready", "worker": b" serves "}
"""What each says once it works."""


@dataclass
class Report:
    """What a run came to."""

    status: str = ""
    duration_s: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    missing: int = 0
    doubled: int = 0
    calls: int = 0
    most_calls_of_a_line: int = 0

    def broken(self, *, lines: int) -> list[str]:
        """What does not hold."""
        allowed = ATTEMPTS + min(3, self.kills["worker"])
        found = []
        if self.status != "completed":
            found.append(f"the batch is {self.status}")
        if self.lines != lines or self.missing or self.doubled:
            found.append(f"{self.lines} lines, {self.missing} missing, {self.doubled} doubled")
        if self.most_calls_of_a_line > allowed:
            found.append(f"a line was called {self.most_calls_of_a_line} times, allowed are {allowed}")
        return found


class Fleet:
    """The processes, one of a kind."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._env = env
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._known: dict[str, int] = {}

    def start(self, name: str) -> None:
        """Start the process of this name."""
        with (self._folder / f"{name}.log").open("ab") as log:
            self._known[name] = log.tell()
            self._running[name] = subprocess.Popen(
                [sys.executable, *COMMANDS[name]], env=self._env, stdout=log, stderr=log, cwd=ROOT
            )

    async def live(self, name: str) -> None:
        """Wait until it works: a process that is killed while it starts shows nothing.

        One that found no Redis when it started is started again, as a supervisor would.
        """
        log = self._folder / f"{name}.log"
        while SIGNS[name] not in log.read_bytes()[self._known[name] :]:
            await asyncio.sleep(0.05)
            if self._running[name].poll() is not None:
                self.start(name)

    def kill(self, name: str) -> None:
        """Kill it; True death, no last words."""
        self._running[name].kill()
        self._running[name].wait()

    def kill_all(self) -> None:
        """End everything."""
        for name in self._running:
            self.kill(name)


async def run(
    folder: Path,
    *,
    lines: int,
    seed: int,
    victims: tuple[str, ...] = tuple(COMMANDS),
    life_s: tuple[float, float] = (2.0, 8.0),
    latency: str = "fixed:0.05",
    fault: float = 0.02,
) -> Report:
    """Run one batch to its end.

    Args:
        victims: Which processes are killed; `redis` is one.
        life_s: A process works for a random time between these, in seconds.
        fault: Share of calls that fail with 503.
    """
    dice, report = random.Random(seed), Report()
    log = folder / "calls.jsonl"
    server = RedisServer(SERVERS[max(SERVERS)], folder, appendonly="yes", appendfsync="always")
    config = SimulatorConfig(latency=latency, faults={"503": fault}, log_path=log)
    with ExitStack() as stack:
        server.start()
        stack.callback(server.kill)
        port = stack.enter_context(reserved_port())
        async with Simulator(config) as simulator:
            fleet = Fleet(_env(server, simulator.url, port, folder), folder)
            try:
                for name in COMMANDS:
                    fleet.start(name)
                async with httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}/v1", trust_env=False
                ) as client:
                    begun_s = time.monotonic()
                    batch = await _submit(client, lines)
                    killing = [
                        asyncio.create_task(
                            _kill_redis(server, dice, life_s, report)
                            if name == "redis"
                            else _kill(fleet, name, dice, life_s, report)
                        )
                        for name in victims
                    ]
                    batch = await _ended(client, batch["id"])
                    for task in killing:
                        if task.done():
                            task.result()
                        task.cancel()
                    await asyncio.gather(*killing, return_exceptions=True)
                    report.duration_s = time.monotonic() - begun_s
                    report.status = batch["status"]
                    await _look(client, batch, lines, report)
            finally:
                fleet.kill_all()
        _count_calls(log, batch["id"], lines, report)
    return report


def _env(server: RedisServer, upstream_url: str, port: int, folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "CHATQ_REDIS_URL": server.url,
        "CHATQ_API__BIND": f"127.0.0.1:{port}",
        "CHATQ_PROVIDERS__OLLAMA__LIMITS__CONCURRENCY": "1000",
        "CHATQ_BATCHES__LEASE_S": "1.0",
        "CHATQ_WORKER__LEASE_S": "2.0",
        "CHATQ_WORKER__RENEW_S": "0.5",
        **provider_env(upstream_url),
    }


async def _kill(
    fleet: Fleet, name: str, dice: random.Random, life_s: tuple[float, float], report: Report
) -> None:
    while True:
        await fleet.live(name)
        await asyncio.sleep(dice.uniform(*life_s))
        await asyncio.to_thread(fleet.kill, name)
        report.kills[name] += 1
        fleet.start(name)


async def _kill_redis(
    server: RedisServer, dice: random.Random, life_s: tuple[float, float], report: Report
) -> None:
    while True:
        await asyncio.sleep(dice.uniform(*life_s))
        await asyncio.shield(asyncio.create_task(_restart(server)))
        report.kills["redis"] += 1


async def _restart(server: RedisServer) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


async def _call(client: httpx.AsyncClient, method: str, path: str, **body: object) -> httpx.Response:
    """Call, again and again while the API is dead."""
    while True:
        try:
            answer = await client.request(method, path, timeout=60, **body)  # type: ignore[arg-type]
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            continue
        if answer.status_code < 500:
            answer.raise_for_status()
            return answer
        await asyncio.sleep(0.1)


async def _submit(client: httpx.AsyncClient, lines: int) -> dict[str, str]:
    data = b"".join(_line(number) for number in range(1, lines + 1))
    form = {"files": {"file": ("in.jsonl", data)}, "data": {"purpose": "batch"}}
    file = (await _call(client, "POST", "/files", headers={"Idempotency-Key": "the-file"}, **form)).json()
    asked = {
        "input_file_id": file["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "1h",
    }
    headers = {"Idempotency-Key": "the-batch"}
    batch: dict[str, str] = (await _call(client, "POST", "/batches", headers=headers, json=asked)).json()
    return batch


def _line(number: int) -> bytes:
    body = {"model": "ollama/m", "messages": [{"role": "user", "content": f"line {number}"}]}
    line = {"custom_id": f"c-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return orjson.dumps(line) + b"\n"


async def _ended(client: httpx.AsyncClient, batch_id: str) -> dict[str, str]:
    while True:
        batch: dict[str, str] = (await _call(client, "GET", f"/batches/{batch_id}")).json()
        if batch["status"] in ("completed", "failed", "expired", "cancelled"):
            return batch
        await asyncio.sleep(0.2)


async def _look(client: httpx.AsyncClient, batch: dict[str, str], lines: int, report: Report) -> None:
    found: Counter[str] = Counter()
    for name in ("output_file_id", "error_file_id"):
        if batch[name]:
            content = (await _call(client, "GET", f"/files/{batch[name]}/content")).content
            found.update(orjson.loads(line)["custom_id"] for line in content.splitlines())
    report.lines = found.total()
    report.missing = sum(f"c-{number}" not in found for number in range(1, lines + 1))
    report.doubled = sum(count > 1 for count in found.values())


def _count_calls(log: Path, batch_id: str, lines: int, report: Report) -> None:
    jobs = {id_from_key("default", f"{batch_id}:{number}") for number in range(1, lines + 1)}
    calls = Counter(
        record["job"] for record in map(orjson.loads, log.read_bytes().splitlines()) if record["job"] in jobs
    )
    report.calls = calls.total()
    report.most_calls_of_a_line = max(calls.values(), default=0)


def main() -> int:
    """Run; exit code 1 when something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.batches", description=__doc__)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="of the times of kills; default: a fresh one")
    parser.add_argument("--redis", action="store_true", help="kill Redis, too; it keeps an append-only file")
    parser.add_argument("--latency", default="fixed:0.3", help="of a call, as the simulator takes it")
    args = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if args.seed is None else args.seed
    folder = Path(tempfile.mkdtemp(prefix=f"chatq-batches-{seed}-"))
    print(f"seed {seed}, logs in {folder}", flush=True)
    victims = (*COMMANDS, *(("redis",) if args.redis else ()))
    report = asyncio.run(run(folder, lines=args.lines, seed=seed, victims=victims, latency=args.latency))
    print(report)
    broken = report.broken(lines=args.lines)
    for text in broken:
        print(f"BROKEN: {text}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
