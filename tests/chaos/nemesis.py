"""The nemesis: faults of the catalogue in random order over a steady mixed load; one seed is one schedule.

The schedule, the loads and the proxies' dice follow from the seed. What the system makes of it does not, so a
replay meets the same faults in the same order, not at the same instruction.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from producer import Lane
from shared.background import end_tasks
from shared.errors import StoreError
from shared.store.limits import LimitStore
from tests.chaos.checker import check
from tests.chaos.evidence import Delay, Limit, Orphans
from tests.chaos.lab import LEASE_S, PRIMARY, RENEW_S, SECONDARY, Lab, limit_env, script_marker
from tests.chaos.load import FALLBACK, Load
from tests.chaos.report import Report
from tests.chaos.vitals import Course, Leeway, read_process, told_tasks
from tests.support import wait_until

LIMITS = (
    Limit(PRIMARY, rpm=4_200, tpm=150_000),
    Limit(SECONDARY, concurrency=4),
    Limit(client="c", rpm=900),
)
"""What chatq is told; the providers enforce theirs."""

SLICE_S = 1.0
"""As providers do that read 60,000 a minute as 1,000 a second."""

LOAD = Load(
    jobs=40, clients=("a", "b"), lanes=tuple(Lane), fallback_share=0.5, once_share=0.03, deadline_share=0.05,
    deadline_s=4.0, cancel_share=0.05, max_attempts=6, padding=(0, 0, 40),
)  # fmt: skip

LOADS = (
    (LOAD, 120),
    (replace(LOAD, name="second", model=FALLBACK, upstream_model="m", fallback_share=0.0), 80),
    (replace(LOAD, name="limited", jobs=10, clients=("c",)), 30),
)
"""Each is submitted again as long as fewer of its jobs than that are open: more than the limits let pass."""

TRANSIENT = {
    "connect_failed", "connect_timeout", "connection_lost", "truncated", "malformed", "empty_body", "no_choices",
    "error_in_answer", "read_timeout", "total_timeout", "server_error", "overloaded", "rate_limited", "worker_lost",
    "quota_exhausted", "proxy_error", "poison",
}  # fmt: skip
"""What a job may fail with when its attempts are spent; `poison` when its workers were killed in a row."""

SLOTS = 60
"""A worker's."""

LEEWAYS = {
    "RSS MB": Leeway(0.10, 4),
    "open files": Leeway(plus=SLOTS),
    "threads": Leeway(plus=1),
    "tasks": Leeway(plus=10),
}
"""Connections come and go with the faults, one a slot at most."""

LONGEST_PAUSE_S = 2.5
"""Longest that a worker or Redis stands still."""

RETRY_S = 1.2
"""How long after Redis is back a script whose reply was lost may be sent again, and show what it granted before."""

AWAKE_S = 0.3
"""How long after it wakes up a worker may take to send what it was granted before it stood still."""

LIVELY_S = LEASE_S - RENEW_S
"""A worker that stands still for no longer keeps its leases."""


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
            str(SLOTS),
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

    @contextmanager
    def held_up(self, after_s: float, process: subprocess.Popen[bytes] | None = None) -> Iterator[None]:
        """Declare that grants may reach upstreams late, one worker's or all, until so long after the block."""
        since = time.time()
        yield
        worker = self.lab.name_of(process) if process is not None else None
        self.lab.declared.delays.append(Delay(since, time.time() + after_s, worker))

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
    process, since = n.victim(), time.time()
    with n.held_up(AWAKE_S, process):
        n.lab.stop(process)
        await asyncio.sleep(n.rng.uniform(0.3, LONGEST_PAUSE_S))
        process.send_signal(signal.SIGCONT)
    if time.time() - since > LIVELY_S:
        orphans = Orphans(since + LIVELY_S, time.time() + AWAKE_S, n.lab.name_of(process))
        n.lab.declared.orphans.append(orphans)


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
    with n.held_up(RETRY_S):
        n.lab.redis_proxy.reset_share, n.lab.redis_proxy.delay_s = 0.01, 0.003
        await asyncio.sleep(n.rng.uniform(0.5, 1.5))
        n.lab.redis_proxy.heal()


async def stall_redis(n: Nemesis) -> None:
    """F13."""
    assert n.lab.server.process is not None
    with n.held_up(RETRY_S):
        n.lab.server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(n.rng.uniform(0.2, LONGEST_PAUSE_S))
        n.lab.server.process.send_signal(signal.SIGCONT)


async def kill_redis(n: Nemesis) -> None:
    """F14."""
    n.look_at_slowlog()
    with n.held_up(RETRY_S):
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
    with n.held_up(RETRY_S):
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
    since = time.time()
    upstream.set(faults={kind: n.rng.choice((0.3, 1.0))}, retry_after_s=n.rng.choice((0.0, 0.3)))
    await asyncio.sleep(n.rng.uniform(0.3, 1.0))
    upstream.set(faults={})
    if kind.startswith("429"):
        n.lab.declared.overcharged.append((since, time.time() + SLICE_S))


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


async def run(folder: Path, *, minutes: float, seed: int) -> Report:
    """One run, checked.

    Raises:
        Broken: An invariant does not hold; the journal is in the folder.
    """
    env = {name: value for limit in LIMITS for name, value in limit_env(limit).items()}
    async with Lab.open(folder, seed=seed, env=env, producer_via_proxy=True) as lab:
        nemesis = Nemesis(lab, random.Random(seed))
        prepare(lab)
        tasks = folder / "tasks"
        keeper = await nemesis.start_worker(CHAOS_TASKS=str(tasks))
        for _ in range(2):
            await nemesis.start_worker()
        lab.background(lab.poll())
        load = [lab.background(lab.feed(load, most_open=most_open)) for load, most_open in LOADS]
        load.append(lab.background(lab.collect_for_ever()))
        await lab.until_seen(120)
        await wait_until(tasks.exists)
        course = Course("first worker", LEEWAYS)
        lab.courses.append(course)
        load.append(lab.background(course.follow(lambda: read_process(keeper.pid, told_tasks(tasks)))))
        await nemesis.run_for(minutes * 60)
        await end_tasks(*load)
        for task in load:
            if not task.cancelled():
                task.result()  # it ended by an error
        lab.note("quiescence")
        await lab.collect(timeout_s=40)
        nemesis.look_at_slowlog()
        lab.declared.delays += [Delay(at, at + RETRY_S) for at in lab.redis_proxy.eaten_at]
        evidence = await lab.evidence()
        check(evidence)
        return Report(seed, minutes, nemesis.injected, evidence, nemesis.worst_script_ms)


def prepare(lab: Lab) -> None:
    """The limits, at the providers and for the checker, and what any of the faults may lead to."""
    lab.limits += LIMITS
    for limit in LIMITS:
        if limit.upstream is not None:
            lab.upstreams[limit.upstream].set(**limit.numbers, slice_s=SLICE_S, rate_headers="none")
    lab.declared.failures |= TRANSIENT
    # A worker that stood still between claim and call makes the call when it wakes up.
    lab.declared.cancel_slack_s = lab.declared.deadline_slack_s + LONGEST_PAUSE_S
    lab.raw.config_set("slowlog-log-slower-than", 1000)
