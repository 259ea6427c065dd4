"""The lab: a Redis, two providers, workers, proxies in front of everything, and eyes on all of it."""

from __future__ import annotations

import asyncio
import math
import random
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence, Set
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from producer import Job, Lane, Producer, Watch
from shared.errors import StoreError
from shared.providers import ProviderRegistry
from shared.settings import load_settings
from shared.store import scripts
from shared.store.hygiene import adopt_orphans, trim_registries
from shared.store.limits import LimitStore
from simulator import Simulator, SimulatorConfig, text_digest
from tests.chaos.evidence import Ask, Blow, Declared, Delay, Evidence, Journal, Lease, Limit, take_snapshot
from tests.chaos.load import Load, Planned, plan
from tests.chaos.proxy import Proxy
from tests.chaos.vitals import Course
from tests.support import KEYS, SERVERS, RedisServer, WorkerRunner, provider_env

PRIMARY, SECONDARY = "ollama", "openrouter"

LEASE_S, RENEW_S, RESCUE_S = 1.5, 0.3, 0.4
"""A twentieth of the defaults, about: recovery takes a lease and a round. The defaults have a test of their own."""

SHORT = {
    "CHATQ_WORKER__LEASE_S": str(LEASE_S),
    "CHATQ_WORKER__RENEW_S": str(RENEW_S),
    "CHAOS_RESCUE_S": str(RESCUE_S),
    "CHATQ_REDIS__SOCKET_TIMEOUT_S": "0.7",
    "CHATQ_REDIS__CONNECT_TIMEOUT_S": "0.7",
    "CHATQ_JOBS__BACKOFF_BASE_S": "0.05",
    "CHATQ_JOBS__BACKOFF_MAX_S": "0.5",
    "CHATQ_BREAKER__WINDOW_S": "2",
    "CHATQ_BREAKER__OPEN_S": "0.5",
    "CHATQ_BREAKER__MAX_OPEN_S": "1",
    "CHATQ_ROUTING__FAILOVER_AFTER_S": "0.3",
    "CHATQ_WORKER__POLL_S": "0.2",
}

WIDE = {f"CHATQ_PROVIDERS__{name.upper()}__LIMITS__CONCURRENCY": "2000" for name in (PRIMARY, SECONDARY)}
"""Full parallelism from the start: an account of unknown limits would begin with 20 calls at a time."""

WORKER = ("-m", "tests.chaos.worker_main")

TICK_S = 0.02
"""How often the test's own loop is looked at."""

LATE_S = 0.03
"""From then on a look is late; as `worker_main.LATE_S`."""


class Lab:
    """Everything a run needs. Open it with `Lab.open`.

    Attributes:
        server, raw: The Redis and a client of the test's own, straight to it.
        upstreams: Simulators by provider.
        redis_proxy, upstream_proxies: In front of them; nobody goes through them who was not told to.
        declared: What the faults injected may lead to.
        limits, courses: What else is for the checker.
    """

    raw: redis.Redis
    redis_proxy: Proxy
    fleet: WorkerRunner
    producer: Producer
    watch: Watch

    def __init__(
        self, folder: Path, *, seed: int, env: Mapping[str, str], redis_options: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.rng = random.Random(seed)
        self.env = {**SHORT, **WIDE, **env}
        self.declared = Declared()
        self.limits: list[Limit] = []
        self.courses: list[Course] = []
        self.asks: dict[str, Ask] = {}
        self.in_doubt: set[str] = set()
        self.blows: list[Blow] = []
        self.upstreams: dict[str, Simulator] = {}
        self.upstream_proxies: dict[str, Proxy] = {}
        self.journal = Journal(folder / "journal.jsonl")
        self.failovers: list[RedisServer] = []
        self.server = RedisServer(SERVERS[max(SERVERS)], folder, **redis_options)
        self._planned: dict[str, Planned] = {}
        self._sightings: dict[str, tuple[str, str | None]] = {}
        self._breaches: list[str] = []
        self._leases: set[Lease] = set()
        self._most_overdue_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = threading.Event()
        self._expected_exits: dict[int, Set[int]] = {}
        self._names: dict[int, str] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        folder: Path,
        *,
        seed: int = 1,
        env: Mapping[str, str] | None = None,
        redis_options: Mapping[str, str] | None = None,
        producer_via_proxy: bool = False,
    ) -> AsyncIterator[Lab]:
        """Start it all; kill what is left at the end.

        Args:
            env: For workers and producer, over `SHORT` and `WIDE`.
            redis_options: Configuration of the server; default: AOF, once a second.
        """
        folder.mkdir(parents=True, exist_ok=True)
        options = redis_options or {"appendonly": "yes", "appendfsync": "everysec"}
        lab = cls(folder, seed=seed, env=env or {}, redis_options=options)
        async with AsyncExitStack() as stack:
            stack.callback(lab.journal.close)
            await asyncio.to_thread(lab.server.start)
            stack.callback(lab._kill_servers)
            lab.raw = stack.enter_context(lab.server.client())
            lab.redis_proxy = Proxy(folder / "proxy.sock", lab.server.socket, seed=seed)
            await stack.enter_async_context(lab.redis_proxy.running())
            for name in (PRIMARY, SECONDARY):
                await stack.enter_async_context(lab._upstream(name, seed))
            address = f"unix://{folder / 'proxy.sock'}" if producer_via_proxy else lab.server.url
            lab.fleet = WorkerRunner(lab.server.url, lab.upstreams[PRIMARY].url, folder, lab.raw)
            stack.callback(lab.fleet.kill_all)
            settings = load_settings(
                env={**lab._addresses(), "HOME": str(folder), "CHATQ_REDIS_URL": address, **lab.env}
            )
            registry = ProviderRegistry.from_settings(settings, env=KEYS)
            lab.producer = await stack.enter_async_context(Producer.open(settings, registry=registry))
            lab.watch = await stack.enter_async_context(lab.producer.watch())
            stack.push_async_callback(lab._end_tasks)
            lab.background(lab._watch_loop())
            stack.enter_context(lab._sampler())
            yield lab

    @asynccontextmanager
    async def _upstream(self, name: str, seed: int) -> AsyncIterator[None]:
        async with Simulator(SimulatorConfig(seed=seed, latency="uniform:0.01,0.08")) as simulator:
            self.upstreams[name] = simulator
            address = urlsplit(simulator.url)
            target = (str(address.hostname), int(address.port or 0))
            async with Proxy(("127.0.0.1", 0), target, seed=seed).running() as proxy:
                self.upstream_proxies[name] = proxy
                yield

    def _addresses(self, *, via_proxy: bool = False) -> dict[str, str]:
        urls = {name: simulator.url for name, simulator in self.upstreams.items()}
        if via_proxy:
            urls = {name: f"http://127.0.0.1:{proxy.port}" for name, proxy in self.upstream_proxies.items()}
        return {
            **provider_env(urls[PRIMARY]),
            "CHATQ_PROVIDERS__OPENROUTER__BASE_URL": f"{urls[SECONDARY]}/v1",
        }

    @contextmanager
    def _sampler(self) -> Iterator[None]:
        thread = threading.Thread(target=self._sample, name="lease-sampler")
        thread.start()
        try:
            yield
        finally:
            self._closing.set()
            thread.join()

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run beside the test until the lab closes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def _end_tasks(self) -> None:
        self._closing.set()  # a cancel inside a read of Redis may come out as an error that a loop lives through
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def _kill_servers(self) -> None:
        for server in (self.server, *self.failovers):
            if server.process is not None and server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
                server.kill()

    # -- workers ----------------------------------------------------------------------------------

    async def start(
        self,
        *args: str,
        ready: bool = True,
        via_redis_proxy: bool = False,
        via_upstream_proxy: bool = False,
        exits: Set[int] = frozenset({0}),
        **env: str,
    ) -> subprocess.Popen[bytes]:
        """Start a worker; the loop, with simulators and proxies on it, goes on meanwhile.

        Args:
            ready: Return only when it is registered.
            exits: Exit codes that are in order at the end.
        """
        name = f"worker-{len(self.fleet.processes)}"
        settings = {
            **self._addresses(via_proxy=via_upstream_proxy), **self.env, **env,
            **{f"CHATQ_PROVIDERS__{p.upper()}__HEADERS": f'{{X-Source = "{name}"}}' for p in self.upstreams},
            "CHAOS_LATE": str(self._late_path(name)),
        }  # fmt: skip
        if via_redis_proxy:
            settings["CHATQ_REDIS_URL"] = self.redis_proxy_url
        process = await asyncio.to_thread(self.fleet.start, *args, module=WORKER, ready=ready, **settings)
        self._expected_exits[process.pid], self._names[process.pid] = exits, name
        self.journal.write("worker started", pid=process.pid, name=name, env=env)
        return process

    async def start_all(
        self, failpoints: Sequence[str], *args: str, **env: str
    ) -> list[subprocess.Popen[bytes]]:
        """Start a worker with each failpoint, all together; returns when all are there."""
        before = self.raw.scard("rq:workers")
        started = [await self.start(*args, ready=False, CHAOS_FAILPOINT=point, **env) for point in failpoints]
        async with asyncio.timeout(30):
            while self.raw.scard("rq:workers") < before + len(started):
                await asyncio.sleep(0.02)
        return started

    @property
    def redis_proxy_url(self) -> str:
        return f"unix://{self.folder / 'proxy.sock'}"

    def name_of(self, process: subprocess.Popen[bytes]) -> str:
        """What a worker's calls say of their source."""
        return self._names[process.pid]

    def held_by(self, pid: int) -> frozenset[str]:
        """Jobs whose lease is in this process's hands."""
        members = [member.rpartition(":") for member in self.raw.zrange("chatq:leases", 0, -1)]
        pipe = self.raw.pipeline(transaction=False)
        for job_id, _, _ in members:
            pipe.hmget(f"rq:job:{job_id}", "worker_name", "cq_token")
        return frozenset(
            job_id
            for (job_id, _, token), (worker, current) in zip(members, pipe.execute(), strict=True)
            if f"-{pid}-" in (worker or "") and token == current
        )

    async def died(self, process: subprocess.Popen[bytes], fault: str, *, timeout_s: float = 20) -> Blow:
        """Wait until a worker has killed itself; notes what it held."""
        async with asyncio.timeout(timeout_s):
            while process.poll() is None:
                await asyncio.sleep(0.005)
        return self._note_blow(process, fault, time.time())

    def kill(self, process: subprocess.Popen[bytes], fault: str = "kill") -> Blow:
        """SIGKILL."""
        at = time.time()
        process.kill()
        process.wait()
        return self._note_blow(process, fault, at)

    def stop(self, process: subprocess.Popen[bytes], fault: str = "SIGSTOP") -> Blow:
        """SIGSTOP; continue it with SIGCONT."""
        at = time.time()
        process.send_signal(signal.SIGSTOP)
        return self._note_blow(process, fault, at)

    def note_blow(self, process: subprocess.Popen[bytes], fault: str) -> Blow:
        """Something else befell a worker just now that makes its leases run out."""
        return self._note_blow(process, fault, time.time())

    def fail_over_to(self, server: RedisServer) -> None:
        """Clients of the proxy meet another server from now on; so do the test's own eyes."""
        self.redis_proxy.target = server.socket
        self.server, old = server, self.server
        self.failovers.append(old)
        self.raw = server.client()
        self.redis_proxy.reset_all()

    def _note_blow(self, process: subprocess.Popen[bytes], fault: str, at: float) -> Blow:
        blow = Blow(at, process.pid, fault, self.held_by(process.pid))
        self.blows.append(blow)
        if process.poll() is not None:
            self._expected_exits[process.pid] = {-signal.SIGKILL}
        self.journal.write("blow", fault=fault, pid=process.pid, held=len(blow.held))
        return blow

    # -- jobs -------------------------------------------------------------------------------------

    async def submit(self, load: Load) -> list[str]:
        """Submit a load, again and again until it is acknowledged. Returns the ids."""
        planned = list(plan(load, self.rng))
        sent_at = time.time()
        while True:
            try:
                results = await self.watch.submit_many([one.submission for one in planned])
                break
            except StoreError as exc:
                self.journal.write("submit unanswered", error=str(exc))
                await asyncio.sleep(0.05)
        acked_at = time.time()
        ids = []
        for one, result in zip(planned, results, strict=True):
            if not isinstance(result, str):
                raise result
            self._accept(one, result, sent_at, acked_at)
            ids.append(result)
        self.journal.write("accepted", jobs=len(ids), load=asdict(load))
        return ids

    async def feed(self, load: Load, *, every_s: float = 0.2, most_open: float = math.inf) -> None:
        """Submit a load like this again and again, until cancelled; not while `most_open` of its jobs are open."""
        ids: set[str] = set()
        while not self._closing.is_set():
            ids -= self._sightings.keys()
            if len(ids) < most_open:
                ids.update(await asyncio.shield(asyncio.create_task(self.submit(load))))
            await asyncio.sleep(every_s)

    def _accept(self, one: Planned, job_id: str, sent_at: float, acked_at: float) -> None:
        s = one.submission
        self._planned[job_id] = one
        self.asks[job_id] = Ask(
            job_id,
            one.text,
            one.digests,
            sent_at,
            acked_at,
            s.client,
            str(s.lane),
            s.expires_in_s,
            one.may_end,
        )
        if one.is_to_cancel:
            self.background(self._cancel_later(job_id, self.rng.uniform(0.0, 1.5)))

    async def _cancel_later(self, job_id: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self.cancel(job_id)

    async def cancel(self, job_id: str) -> None:
        """Cancel, again until it is acknowledged. A job that was lost cannot be."""
        ask = self.asks[job_id]
        ask.may_end |= {"cancelled"}
        while not self._closing.is_set():
            with suppress(StoreError):
                state = await self.producer.cancel(job_id)
                ask.cancelled_at, ask.cancel_state = time.time(), state.value
                return
            await asyncio.sleep(0.05)

    async def resubmit_unknown(self) -> int:
        """What a careful client does after a failover: submit what the store does not know. Returns how many."""
        ids = list(self.asks)
        while True:
            try:
                jobs = await self.producer.get_many(ids)
                unknown = [i for i, job in zip(ids, jobs, strict=True) if job is None]
                await self.producer.submit_many([self._planned[i].submission for i in unknown])
                await self.watch.add(ids)
                return len(unknown)
            except StoreError as exc:
                self.journal.write("resubmit unanswered", error=str(exc))
                await asyncio.sleep(0.05)

    async def collect(self, *, timeout_s: float = 30.0) -> bool:
        """Take outcomes as they come, until all are there; says whether they all came."""
        give_up_at = time.monotonic() + timeout_s
        while self.watch.pending:
            if time.monotonic() > give_up_at:
                self.journal.write("gave up waiting", pending=self.watch.pending)
                return False
            with suppress(StoreError):
                for job in await self.watch.next_batch(timeout_s=0.5):
                    self._see(job)
        return True

    async def collect_for_ever(self) -> None:
        """Take outcomes as they come, also when none is expected at the moment."""
        while not self._closing.is_set():
            with suppress(StoreError):
                for job in await self.watch.next_batch(timeout_s=0.2):
                    self._see(job)

    async def until_seen(self, jobs: int) -> None:
        """Wait until so many have ended, collected by somebody else."""
        async with asyncio.timeout(20):
            while len(self._sightings) < jobs:
                await asyncio.sleep(0.05)

    async def until_ended(self, jobs: int, *, timeout_s: float = 20.0) -> None:
        """Collect until so many have ended."""
        async with asyncio.timeout(timeout_s):
            while len(self._sightings) < jobs:
                with suppress(StoreError):
                    for job in await self.watch.next_batch(timeout_s=0.2):
                        self._see(job)

    def _see(self, job: Job) -> None:
        """A poller's view: what has ended stays as it is."""
        first = self._sightings.get(job.id)
        if job.state.is_terminal and first is None:
            self._sightings[job.id] = (job.state.value, job.text)
        elif first is not None and first != (job.state.value, job.text) and job.id not in self.declared.lost:
            self._breaches.append(f"{job.id} was {first[0]}, is {job.state.value}")

    def forget_sightings(self) -> None:
        """Redis went back in time: what was seen before counts no more."""
        self._sightings.clear()
        self._breaches.clear()

    async def poll(self, *, every_s: float = 0.1, jobs: int = 40) -> None:
        """A poller that asks for random jobs for ever."""
        while not self._closing.is_set():
            await asyncio.sleep(every_s)
            ids = list(self.asks)
            some = self.rng.sample(ids, min(jobs, len(ids)))
            had_ended = self._sightings.keys() & set(some)  # others may end while the answer is on its way
            with suppress(StoreError):
                for job_id, job in zip(some, await self.producer.get_many(some), strict=True):
                    if job is not None:
                        if job.state.is_terminal or job_id in had_ended:
                            self._see(job)
                    elif job_id not in self.declared.lost:
                        self._breaches.append(f"{job_id} is unknown")

    @property
    def sightings(self) -> Mapping[str, tuple[str, str | None]]:
        """Id → state and text of what has ended, as it was first seen."""
        return self._sightings

    def known(self, ask: Ask) -> Ask:
        """A job that was submitted past `submit`: its digests follow from its text."""
        ask.digests = frozenset({text_digest("m", "", ask.text)})
        return ask

    def script_runs(self) -> int:
        """Scripts Redis has run since it started."""
        stats = self.raw.info("commandstats")
        return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("evalsha", "eval"))

    async def sweep(self) -> None:
        """What the janitor does each minute about what was broken or deleted behind its back."""
        queues = [f"{name}.{lane}" for name in (PRIMARY, SECONDARY) for lane in Lane]
        await LimitStore(self.producer._store).sweep()
        await adopt_orphans(self.producer._store, queues)
        await trim_registries(self.producer._store, queues, failure_ttl_s=600)

    def producer_env(self) -> dict[str, str]:
        """The environment of another producer on this lab."""
        return {**self.fleet.env, **self._addresses(), **self.env}

    def note(self, what: str) -> None:
        """A line in the journal."""
        self.journal.write(what)

    # -- seen from outside ------------------------------------------------------------------------

    def calls(self, name: str = PRIMARY) -> int:
        """Calls that ended at an upstream."""
        return int(self.upstreams[name].stats()["calls"])

    def in_flight(self, name: str = PRIMARY) -> int:
        return int(self.upstreams[name].stats()["in_flight"])

    def total(self, name: str) -> int:
        """A counter of the store's."""
        return int(self.raw.hget("chatq:totals", name) or 0)

    async def _watch_loop(self) -> None:
        """Upstreams and proxies are on this loop: while it is held up, calls wait unseen. That is our delay."""
        while True:
            since = time.time()
            await asyncio.sleep(TICK_S)
            if time.time() - since > LATE_S:
                self.declared.delays.append(Delay(since, time.time()))

    def _late_path(self, worker: str) -> Path:
        return self.folder / f"{worker}.late"

    def _late_workers(self) -> Iterator[Delay]:
        """When a worker did not get the processor, its calls waited too: that is this machine's delay."""
        for worker in self._names.values():
            with suppress(FileNotFoundError):
                for line in self._late_path(worker).read_text().splitlines():
                    since, until = line.split()
                    yield Delay(float(since), float(until), worker)

    def _sample(self) -> None:
        """Look at the leases ten times a second, in a thread: the loop's own stalls must not blind it."""
        known: set[str] = set()
        with self.server.client(socket_timeout=0.5) as client:
            while not self._closing.wait(0.1):
                with suppress(redis.RedisError, OSError):
                    self._sample_once(client, known)

    def _sample_once(self, client: redis.Redis, known: set[str]) -> None:
        seconds, micros = client.time()
        leases = dict(client.zrange("chatq:leases", 0, -1, withscores=True))
        if leases:
            overdue_s = seconds + micros / 1e6 - min(leases.values()) / 1000
            self._most_overdue_s = max(self._most_overdue_s, overdue_s)
        new = [member.rpartition(":") for member in leases.keys() - known]
        pipe = client.pipeline(transaction=False)
        for job_id, _, _ in new:
            pipe.hmget(f"rq:job:{job_id}", "worker_name", "cq_token")
        for (job_id, _, token), (worker, current) in zip(new, pipe.execute(), strict=True):
            if current == token and worker:
                self._leases.add(Lease(job_id, token, worker))
        known |= leases.keys()

    # -- the end ----------------------------------------------------------------------------------

    async def come_to_rest(self, *, timeout_s: float = 8.0) -> None:
        """Wait until nothing is held, then stop the workers as operators do. What is left is for the checker."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._is_busy():
                    await asyncio.sleep(0.05)
        for process in self.fleet.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.fleet.processes:
            code = await asyncio.to_thread(process.wait, 40)
            if code not in self._expected_exits.get(process.pid, {0}):
                raise AssertionError(
                    f"worker {process.pid} ended with {code}:\n{self.fleet.log(process)[-3000:]}"
                )

    def _is_busy(self) -> bool:
        pattern = ("rq:queue:*", "rq:wip:*", "rq:scheduled:*")
        return bool(self.raw.exists("chatq:leases", "chatq:payload")) or any(
            True for p in pattern for _ in self.raw.scan_iter(p, count=5000)
        )

    async def evidence(self, *, timeout_s: float = 8.0) -> Evidence:
        """Come to rest and gather everything there is."""
        await self.come_to_rest(timeout_s=timeout_s)
        self.declared.delays += self._late_workers()
        snapshot = await asyncio.to_thread(take_snapshot, self.raw)
        calls = {name: simulator.calls for name, simulator in self.upstreams.items()}
        for name, records in calls.items():
            self.journal.write_all("call", ({"upstream": name, **asdict(record)} for record in records))
        logs = "\n".join(self.fleet.log(process) for process in self.fleet.processes)
        return Evidence(
            self.asks, dict(calls), snapshot, self.declared, self.in_doubt, self._sightings, self._breaches,
            self._leases, self._most_overdue_s, self.blows, logs, self.limits, self.courses,
        )  # fmt: skip


def limit_env(limit: Limit) -> dict[str, str]:
    """How chatq is told of a limit."""
    table = f"PROVIDERS__{limit.upstream}" if limit.upstream else f"CLIENTS__{limit.client}"
    return {f"CHATQ_{table}__LIMITS__{name}".upper(): str(number) for name, number in limit.numbers.items()}


def script_marker(name: str) -> bytes:
    """What a proxy sees of a call of this script."""
    return scripts.load(name, with_flags=True).sha.encode()
