"""The soak: a steady high load, no faults, and everybody must stay as large as they were (I22).

    python -m tests.chaos.soak --minutes 10

Two workers, and a provider that is a process of its own; this process submits, collects, and reads everybody's
vitals. Answers expire after seconds, so Redis must be flat too.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from producer import JobState, Lane, Producer, Submission
from shared.background import end_tasks
from shared.providers import ProviderRegistry
from shared.settings import load_settings
from tests.chaos.checker import Broken
from tests.chaos.evidence import Limit
from tests.chaos.lab import limit_env
from tests.chaos.vitals import Course, Leeway, read_process, told_tasks
from tests.support import KEYS, ROOT, SERVERS, RedisServer, WorkerRunner

WORKERS, SLOTS = 2, 100

JOBS_PER_S = 2_000
"""About half of what two cores run, so that the load is even and what Redis holds with it."""

LATENCY = "uniform:0.01,0.05"
"""Of the provider: with that many jobs, a third of the slots are in use."""

FIRST = 2_000
"""Jobs submitted in the beginning: all slots are in use once, and every connection is there."""

BATCH = 100
"""Jobs submitted at once."""

MOST_OPEN = 4_000
"""Jobs that wait or run at a time; reached by a machine that is too slow."""

TEXTS = 5_000
"""Different prompts: the provider remembers each."""

WARM_UP_S = (4.0, 60.0)
"""How long nothing is read in the beginning, at least and at most; between them a quarter of the time."""

SETTINGS = {
    **limit_env(Limit("ollama", rpm=10**6, tpm=10**9, concurrency=WORKERS * SLOTS)),
    "CHATQ_JOBS__RESULT_TTL_S": "2",
    "CHATQ_TELEMETRY__STREAM_MAXLEN": "2000",
}  # fmt: skip
"""Limits are kept, and are high. What may grow up to a bound is full within the warm-up."""

PROCESS_LEEWAYS = {
    "RSS MB": Leeway(0.05, 3),
    "open files": Leeway(0.10),
    "threads": Leeway(),
    "tasks": Leeway(plus=5),
}
"""Allocators round up; pools of connections fill up to their peak; a command to Redis is a task for an instant."""

REDIS_LEEWAYS = {"memory MB": Leeway(0.10, 4), "keys": Leeway(0.10, 500)}


@dataclass(frozen=True)
class Soaked:
    """What a soak came to."""

    jobs: int
    seconds: float
    courses: Sequence[Course]

    @property
    def jobs_per_s(self) -> float:
        return self.jobs / self.seconds

    def check(self) -> None:
        """See that nothing grew.

        Raises:
            Broken: Something did.
        """
        if found := [line for course in self.courses for line in course.broken()]:
            raise Broken(f"I22 not flat: {'; '.join(found)}")

    def rows(self) -> list[tuple[str, str]]:
        """Name and value, for a table."""
        return [
            ("minutes", f"{self.seconds / 60:.1f}"),
            ("jobs", f"{self.jobs:,}"),
            ("jobs per second", f"{self.jobs_per_s:,.0f}"),
            *((course.name, course.text()) for course in self.courses),
        ]


async def soak(
    folder: Path, *, minutes: float, jobs_per_s: int = JOBS_PER_S, latency: str = LATENCY
) -> Soaked:
    """Run for so long, after a warm-up.

    Args:
        latency: Of the provider, as `SimulatorConfig.latency`.

    Raises:
        Broken: A job did not complete.
    """
    with ExitStack() as stack:
        server = RedisServer(SERVERS[max(SERVERS)], folder)
        server.start()
        stack.callback(server.kill)
        raw = stack.enter_context(server.client())
        upstream = stack.enter_context(_upstream(folder, latency))
        runner = WorkerRunner(server.url, upstream, folder, raw)
        stack.callback(runner.kill_all)
        courses = [_start_worker(runner, folder / f"worker-{n}.tasks") for n in range(WORKERS)]
        courses.append((Course("Redis", REDIS_LEEWAYS), lambda: _read_redis(raw)))
        settings = load_settings(env={**runner.env, **SETTINGS})
        registry = ProviderRegistry.from_settings(settings, env=KEYS)
        async with Producer.open(settings, registry=registry) as producer:
            own = Course("producer", PROCESS_LEEWAYS)
            courses.append((own, lambda: read_process(os.getpid(), len(asyncio.all_tasks()))))
            return await _measured(Driver(producer, jobs_per_s), courses, minutes * 60)


Read = Callable[[], Mapping[str, float]]


@contextmanager
def _upstream(folder: Path, latency: str) -> Iterator[str]:
    """A provider's address."""
    ready = folder / "upstream.url"
    options = ["--port", "0", "--latency", latency, "--ready-file", str(ready)]
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", *options], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        give_up_at = time.monotonic() + 20
        while not ready.exists():
            if time.monotonic() > give_up_at:
                raise TimeoutError("the provider did not start")
            time.sleep(0.02)
        yield ready.read_text().strip()
    finally:
        process.terminate()
        process.wait()


def _start_worker(runner: WorkerRunner, tasks: Path) -> tuple[Course, Read]:
    module = ("-m", "tests.chaos.worker_main")
    process = runner.start("--concurrency", str(SLOTS), module=module, CHAOS_TASKS=str(tasks), **SETTINGS)
    return Course(tasks.stem, PROCESS_LEEWAYS), lambda: read_process(process.pid, told_tasks(tasks))


def _read_redis(raw: redis.Redis) -> dict[str, float]:
    return {"memory MB": raw.info("memory")["used_memory"] / 1e6, "keys": raw.dbsize()}


class Driver:
    """Keeps the fleet busy.

    Attributes:
        jobs: How many have completed.
    """

    def __init__(self, producer: Producer, jobs_per_s: int) -> None:
        self.jobs = 0
        self._producer = producer
        self._jobs_per_s = jobs_per_s

    async def run(self) -> None:
        """Submit and collect until cancelled.

        Raises:
            Broken: A job did not complete.
        """
        numbers, began_at = itertools.count(), time.monotonic()
        async with self._producer.watch() as watch:
            while True:
                due = FIRST + (time.monotonic() - began_at) * self._jobs_per_s - self.jobs - watch.pending
                if due >= BATCH and watch.pending < MOST_OPEN:
                    await watch.submit_many(_submission(n) for n in itertools.islice(numbers, BATCH))
                for job in await watch.next_batch(timeout_s=BATCH / self._jobs_per_s):
                    if job.state is not JobState.COMPLETED:
                        raise Broken(f"I21 a job ended {job.state}: {job.error}")
                    self.jobs += 1


def _submission(number: int) -> Submission:
    words = f"soak {number % TEXTS} " + "lorem ipsum dolor sit amet " * (number % 40)
    request = {"model": "m", "messages": [{"role": "user", "content": words}], "max_tokens": 32}
    return Submission(request, lane=list(Lane)[number % 3], client=f"client-{number % 7}")


async def _measured(driver: Driver, courses: list[tuple[Course, Read]], seconds: float) -> Soaked:
    driving = asyncio.create_task(driver.run())
    least_s, most_s = WARM_UP_S
    await asyncio.wait([driving], timeout=min(max(seconds / 4, least_s), most_s))
    began_at, before = time.monotonic(), driver.jobs
    following = [asyncio.create_task(course.follow(read)) for course, read in courses]
    await asyncio.wait([driving, *following], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    soaked = Soaked(driver.jobs - before, time.monotonic() - began_at, [course for course, _ in courses])
    await end_tasks(driving, *following)
    for task in (driving, *following):
        if not task.cancelled():
            task.result()  # it ended by an error
    return soaked


def main() -> int:
    """Run; exit code 1 when something was not flat."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="chatq-soak-") as folder:
        try:
            soaked = asyncio.run(soak(Path(folder), minutes=minutes))
            for name, value in soaked.rows():
                print(f"{name:16} {value}")
            soaked.check()
        except Broken as exc:
            print(f"BROKEN: {exc}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
