"""The nemesis: faults of the catalogue in random order over a steady mixed load; one seed is one schedule.

The schedule, the loads and the proxies' dice follow from the seed. What the system makes of it does not, so a
replay meets the same faults in the same order, not at the same instruction.
"""

from __future__ import annotations

import asyncio
import random
import signal
import statistics
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from producer import Lane
from shared.errors import StoreError
from shared.store.limits import LimitStore
from tests.chaos.checker import check, recovery_times
from tests.chaos.evidence import Evidence
from tests.chaos.lab import PRIMARY, SECONDARY, Lab, script_marker
from tests.chaos.load import Load
from tests.support import wait_until

LOAD = Load(
    jobs=60, clients=("a", "b", "c"), lanes=tuple(Lane), fallback_share=0.5, once_share=0.03, deadline_share=0.05,
    deadline_s=4.0, cancel_share=0.05, max_attempts=6,
)  # fmt: skip

TRANSIENT = {
    "connect_failed", "connect_timeout", "connection_lost", "truncated", "malformed", "empty_body", "no_choices",
    "error_in_answer", "read_timeout", "total_timeout", "server_error", "overloaded", "rate_limited", "worker_lost",
    "quota_exhausted", "poison",
}  # fmt: skip
"""What a job may fail with when its attempts are spent; `poison` when its workers were killed in a row."""

LONGEST_PAUSE_S = 2.5
"""Longest that a worker or Redis stands still."""


class Nemesis:
    """Hurts one lab."""

    def __init__(self, lab: Lab, rng: random.Random) -> None:
        self.lab = lab
        self.rng = rng
        self.injected: Counter[str] = Counter()
        self.worst_script_ms = 0.0
        self.workers: list[subprocess.Popen[bytes]] = []

    async def run_for(self, duration_s: float) -> None:
        """One fault after the other, each healed, with breaks between."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + duration_s
        while loop.time() < give_up_at:
            for process in [one for one in self.workers if one.poll() is not None]:
                await self.replace(process)
            fault = self.rng.choice(FAULTS)
            self.injected[fault.__name__] += 1
            self.lab.note(f"fault {fault.__name__}")
            await fault(self)
            await asyncio.sleep(self.rng.uniform(0.1, 0.8))

    async def start_worker(self, **env: str) -> subprocess.Popen[bytes]:
        # 5: it came up, or had to go, while Redis was out of reach. -15: told to stop before it took signals.
        process = await self.lab.start(
            "--concurrency",
            "60",
            ready=False,
            via_redis_proxy=True,
            via_upstream_proxy=True,
            exits={0, 5, -15},
            **env,
        )
        self.workers.append(process)
        return process

    def victim(self) -> subprocess.Popen[bytes]:
        """Any worker but the first: that one shows what a long life does."""
        return self.rng.choice(self.workers[1:])

    async def replace(self, process: subprocess.Popen[bytes]) -> None:
        self.workers.remove(process)
        await self.start_worker()

    def look_at_slowlog(self) -> None:
        """Before Redis forgets it."""
        for entry in self.lab.raw.slowlog_get(1000):
            if str(entry["command"]).upper().startswith(("EVAL", "B'EVAL")):
                self.worst_script_ms = max(self.worst_script_ms, entry["duration"] / 1000)


Fault = Callable[[Nemesis], Awaitable[None]]


async def kill_worker(n: Nemesis) -> None:
    """F1–F4, F46."""
    process = n.victim()
    n.lab.kill(process)
    await n.replace(process)


async def worker_dies_at_a_step(n: Nemesis) -> None:
    """F1–F5: at a random passage of a random step, or by hand if that never comes."""
    steps = (
        "claimed",
        "opened",
        "sent",
        "reading",
        "answered",
        "finalize_sent",
        "renewed",
        "released",
        "promoted",
    )
    bomb = await n.lab.start(
        "--concurrency", "30", ready=False, CHAOS_FAILPOINT=f"{n.rng.choice(steps)}:{n.rng.randint(1, 8)}"
    )
    try:
        await n.lab.died(bomb, "failpoint", timeout_s=4)
    except TimeoutError:
        n.lab.kill(bomb)


async def kill_all_workers(n: Nemesis) -> None:
    """F6."""
    for process in list(n.workers[1:]):
        n.lab.kill(process)
        await n.replace(process)


async def pause_worker(n: Nemesis) -> None:
    """F7."""
    process = n.victim()
    n.lab.stop(process)
    await asyncio.sleep(n.rng.uniform(0.3, LONGEST_PAUSE_S))
    process.send_signal(signal.SIGCONT)


async def tell_worker_to_stop(n: Nemesis) -> None:
    """F8: once or twice."""
    process = n.victim()
    process.terminate()
    if n.rng.random() < 0.5:
        await asyncio.sleep(0.1)
        process.terminate()
    await n.replace(process)


async def eat_replies(n: Nemesis) -> None:
    """F11."""
    names = ("claim_jobs", "finalize_jobs", "release_jobs", "extend_leases", "promote_jobs", "enqueue_jobs")
    n.lab.redis_proxy.eat_reply(*(script_marker(name) for name in n.rng.choices(names, k=6)))


async def break_lines_to_redis(n: Nemesis) -> None:
    """F12."""
    n.lab.redis_proxy.reset_share, n.lab.redis_proxy.delay_s = 0.01, 0.003
    await asyncio.sleep(n.rng.uniform(0.5, 1.5))
    n.lab.redis_proxy.heal()


async def stall_redis(n: Nemesis) -> None:
    """F13."""
    assert n.lab.server.process is not None
    n.lab.server.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(n.rng.uniform(0.2, LONGEST_PAUSE_S))
    n.lab.server.process.send_signal(signal.SIGCONT)


async def kill_redis(n: Nemesis) -> None:
    """F14."""
    n.look_at_slowlog()
    n.lab.server.kill()
    await asyncio.sleep(n.rng.uniform(0.0, 1.0))
    await asyncio.to_thread(n.lab.server.start)
    n.lab.raw.config_set("slowlog-log-slower-than", 1000)


async def flush_scripts(n: Nemesis) -> None:
    """F16."""
    n.lab.raw.script_flush()


async def fill_redis(n: Nemesis) -> None:
    """F17."""
    n.lab.raw.config_set("maxmemory", int(n.lab.raw.info("memory")["used_memory"] * 0.8))
    await asyncio.sleep(n.rng.uniform(0.3, 1.0))
    n.lab.raw.config_set("maxmemory", 0)


async def cut_off_redis(n: Nemesis) -> None:
    """F23: for all workers, one direction or both."""
    proxy = n.lab.redis_proxy
    proxy.drops_replies, proxy.drops_requests = True, n.rng.random() < 0.5
    await asyncio.sleep(n.rng.uniform(0.3, LONGEST_PAUSE_S))
    proxy.heal()


async def slow_upstream(n: Nemesis) -> None:
    """F26."""
    upstream = n.lab.upstreams[n.rng.choice((PRIMARY, SECONDARY))]
    upstream.set(latency="uniform:0.2,1.5")
    await asyncio.sleep(n.rng.uniform(0.5, 1.5))
    upstream.set(latency="uniform:0.01,0.08")


async def bad_answers(n: Nemesis) -> None:
    """F27–F30: a mix of everything, a fifth of the calls."""
    upstream = n.lab.upstreams[n.rng.choice((PRIMARY, SECONDARY))]
    kinds = (
        "reset",
        "reset-mid",
        "truncate",
        "malformed",
        "html",
        "empty",
        "no-choices",
        "error-200",
        "deep-json",
    )
    upstream.set(faults=dict.fromkeys(kinds, 0.02))
    await asyncio.sleep(n.rng.uniform(0.5, 1.5))
    upstream.set(faults={})


async def storm(n: Nemesis) -> None:
    """F31, F32."""
    upstream = n.lab.upstreams[n.rng.choice((PRIMARY, SECONDARY))]
    kind = n.rng.choice(("429", "429-bare", "500", "503", "529"))
    upstream.set(faults={kind: n.rng.choice((0.3, 1.0))}, retry_after_s=n.rng.choice((0.0, 0.3)))
    await asyncio.sleep(n.rng.uniform(0.3, 1.0))
    upstream.set(faults={})


async def upstream_outage(n: Nemesis) -> None:
    """F34, F47: one of them or both."""
    names = n.rng.choice(((PRIMARY,), (SECONDARY,), (PRIMARY, SECONDARY)))
    for name in names:
        await n.lab.upstreams[name].close_port()
    await asyncio.sleep(n.rng.uniform(0.2, 1.5))
    for name in names:
        await n.lab.upstreams[name].open_port()


async def break_lines_to_upstream(n: Nemesis) -> None:
    """F28, F35."""
    proxy = n.lab.upstream_proxies[n.rng.choice((PRIMARY, SECONDARY))]
    proxy.reset_share = 0.05
    await asyncio.sleep(n.rng.uniform(0.3, 1.0))
    proxy.heal()
    proxy.reset_all()


async def double_list_entries(n: Nemesis) -> None:
    """F44: list entries of jobs that are anything but waiting there."""
    some = n.rng.sample(sorted(n.lab.asks), min(20, len(n.lab.asks)))
    if some:
        n.lab.raw.lpush("rq:queue:ollama.batch", *some)


async def lower_a_limit(n: Nemesis) -> None:
    """F48: and lift it again."""
    store = LimitStore(n.lab.producer._store)
    for limit in (5, None):
        with suppress(StoreError):
            await store.set("account:ollama", {"concurrency": limit})
        await asyncio.sleep(0.7)


FAULTS: tuple[Fault, ...] = (
    kill_worker, worker_dies_at_a_step, kill_all_workers, pause_worker, tell_worker_to_stop, eat_replies,
    break_lines_to_redis, stall_redis, kill_redis, flush_scripts, fill_redis, cut_off_redis, slow_upstream,
    bad_answers, storm, upstream_outage, break_lines_to_upstream, double_list_entries, lower_a_limit,
)  # fmt: skip


@dataclass
class Report:
    """What one run came to."""

    seed: int
    minutes: float
    faults: Counter[str]
    evidence: Evidence
    worst_script_ms: float
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, str]]:
        """Name and value, for a table."""
        snapshot, times = self.evidence.snapshot, recovery_times(self.evidence)
        states = Counter(job.get("cq_state", "open") for job in snapshot.jobs.values())
        calls = Counter(call.job for call in self.evidence.all_calls() if call.status == 200)
        spare = sum(calls.values()) - len(calls)
        ends = Counter(event["job"] for event in snapshot.outcomes)
        percentiles = statistics.quantiles(times, n=100) if len(times) > 1 else [0.0] * 99
        slowest, totals = max(times, default=0.0), snapshot.totals
        change = ", ".join(f"{k} {self.before[k]:.0f} → {self.after[k]:.0f}" for k in self.before)
        return [
            ("seed", str(self.seed)),
            ("minutes", f"{self.minutes:g}"),
            ("faults injected", f"{self.faults.total()} of {len(self.faults)} kinds"),
            ("", ", ".join(f"{name} {times}" for name, times in sorted(self.faults.items()))),
            ("jobs accepted", str(len(self.evidence.asks))),
            ("outcomes", ", ".join(f"{state} {count}" for state, count in sorted(states.items()))),
            ("lost", str(len(self.evidence.asks.keys() - snapshot.jobs.keys()))),
            ("jobs with two outcomes", str(sum(n > 1 for n in ends.values()))),
            ("answers paid for twice", str(spare)),
            ("salvaged · stale outcomes", f"{totals.get('salvaged', 0)} · {totals.get('stale', 0)}"),
            ("jobs rescued", str(totals.get("rescued", 0))),
            ("recoveries", str(len(times))),
            ("recovery p50 · p99 · max", f"{percentiles[49]:.1f} · {percentiles[98]:.1f} · {slowest:.1f} s"),
            ("slowest script", f"{self.worst_script_ms:.1f} ms"),
            ("first worker", change),
        ]  # fmt: skip


async def _vitals(lab: Lab, process: subprocess.Popen[bytes]) -> dict[str, float]:
    """RSS, open files, threads and asyncio tasks of a worker."""
    known = lab.fleet.log(process).count("tasks=")
    process.send_signal(signal.SIGUSR1)
    await wait_until(lambda: lab.fleet.log(process).count("tasks=") > known)
    about = psutil.Process(process.pid)
    tasks = int(lab.fleet.log(process).rpartition("tasks=")[2].split()[0])
    return {
        "RSS MB": about.memory_info().rss / 1e6,
        "open files": about.num_fds(),
        "threads": about.num_threads(),
        "tasks": tasks,
    }


async def run(folder: Path, *, minutes: float, seed: int) -> Report:
    """One run, checked.

    Raises:
        Broken: An invariant does not hold; the journal is in the folder.
    """
    async with Lab.open(folder, seed=seed, producer_via_proxy=True) as lab:
        rng = random.Random(seed)
        lab.declared.failures |= TRANSIENT
        # A worker that stood still between claim and call makes the call when it wakes up.
        lab.declared.cancel_slack_s = lab.declared.deadline_slack_s + LONGEST_PAUSE_S
        lab.raw.config_set("slowlog-log-slower-than", 1000)
        nemesis = Nemesis(lab, rng)
        for _ in range(3):
            await nemesis.start_worker()
        keeper = nemesis.workers[0]
        submitting = lab.background(lab.feed(LOAD, every_s=0.4))
        collecting = lab.background(lab.collect_for_ever())
        lab.background(lab.poll())
        await lab.until_seen(120)
        before = await _vitals(lab, keeper)
        await nemesis.run_for(minutes * 60)
        for task in (submitting, collecting):
            task.cancel()
        await asyncio.gather(submitting, collecting, return_exceptions=True)
        lab.note("quiescence")
        await lab.collect(timeout_s=40)
        after = await _vitals(lab, keeper)
        nemesis.look_at_slowlog()
        evidence = await lab.evidence()
        check(evidence)
        return Report(seed, minutes, nemesis.injected, evidence, nemesis.worst_script_ms, before, after)
