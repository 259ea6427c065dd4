"""One worker process: everything that runs beside the engine, started and stopped in the right order.

Stop order matters: the heartbeat goes last, because draining calls still need their leases (dramatiq learned
the same: workers stop before what keeps them alive).
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
import signal
import socket
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.background import end_tasks
from shared.catalogue import Catalogue
from shared.errors import StoreUnavailable
from shared.garbage_collector import calm_collector
from shared.group_follower import GroupFollower
from shared.job import EXPIRED, POISON, STREAM_BROKEN, WORKER_LOST, Lane
from shared.live_facts import LiveFacts
from shared.parent import until_gone
from shared.providers import Provider, ProviderRegistry
from shared.routing import Router
from shared.settings import Settings
from shared.store import keys
from shared.store.connect import Store, sync_client
from shared.store.grants import GrantStore, read_handed
from shared.store.groups import GroupStore
from shared.store.leases import LeaseRenewer
from shared.store.limits import LimitStore
from shared.store.queue_keeper import QueueKeeper
from shared.store.ratings import RatingStore
from shared.store.signals import Signals
from shared.store.workers import WorkerRecord
from shared.version import VERSION
from worker.attempt import AttemptRunner
from worker.bookkeeper import Bookkeeper
from worker.capacity import affordable
from worker.commands import dispatch
from worker.deltas import DeltaWriter
from worker.engine import Engine
from worker.heartbeat import Heartbeat
from worker.janitor import Janitor
from worker.limit_publisher import LimitPublisher
from worker.metrics import WorkerMetrics
from worker.metrics_server import MetricsServer
from worker.promoter import Promoter
from worker.rating import Rater
from worker.rescuer import Rescuer
from worker.settle import cut
from worker.spool import Spool, left_behind
from worker.upstream import Upstream, open_upstream
from worker.verdict import RetryPolicy

log = logging.getLogger(__name__)

CALL_BYTES = 1024
"""Room for RQ's list around a request of the largest size."""

LEAVE_S = 5.0
"""How long giving jobs back may take."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process is to do.

    Attributes:
        redis_url: Where the store is.
        providers: Whose queues to serve.
        concurrency: Jobs in flight.
        is_burst: End when nothing is queued, due or in flight.
        parent: Drain when this process, which started this one, is gone; None = it does not matter.
        metrics_port: Where metrics can be read, on the loopback interface, or the next free one; 0: off.
    """

    redis_url: str
    providers: Mapping[str, Provider]
    concurrency: int
    is_burst: bool = False
    parent: int | None = None
    metrics_port: int = 0


class WorkerProcess:
    """Builds the parts, runs them, and takes the stop signals."""

    def __init__(self, plan: Plan, settings: Settings, registry: ProviderRegistry) -> None:
        self._plan = plan
        self._slots = plan.concurrency
        self._settings = settings
        self._router = Router.from_settings(settings, registry)
        self._catalogue = Catalogue.from_settings(settings)
        self._queues = [f"{name}.{lane}" for name in plan.providers for lane in Lane]
        self._name = f"chatq-{socket.gethostname().partition('.')[0]}-{os.getpid()}-{secrets.token_hex(3)}"
        self._metrics = WorkerMetrics(plan.providers) if plan.metrics_port else None
        self._background: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None
        self._stops = 0

    async def run(self) -> None:
        """Work until told to stop, or until a burst has nothing left.

        Raises:
            StoreUnavailable: Redis cannot be reached at start.
            StoreUnsuitable: The server would lose jobs.
        """
        self._slots = _slots_with_files(self._plan.concurrency)
        self._catalogue.preload()
        calm_collector()
        store = await Store.open(self._plan.redis_url, self._settings.redis)
        for warning in store.server.warnings:
            log.warning("%s", warning)
        upstreams = {
            name: open_upstream(provider, max_answer_bytes=self._settings.jobs.max_answer_bytes)
            for name, provider in self._plan.providers.items()
        }
        try:
            await self._serve(store, upstreams)
        finally:
            for upstream in upstreams.values():
                await upstream.close()
            await store.close()

    async def _serve(self, store: Store, upstreams: Mapping[str, Upstream]) -> None:
        worker, jobs = self._settings.worker, self._settings.jobs
        keeper = QueueKeeper(
            store,
            queues=self._queues,
            max_attempts=jobs.max_attempts,
            max_events=self._settings.telemetry.max_events,
            lost_error=WORKER_LOST.as_json(),
            poison_error=POISON.as_json(),
            broken_error=STREAM_BROKEN.as_json(),
            expired_error=EXPIRED.as_json(),
        )
        limits = LimitPublisher(LimitStore(store), self._plan.providers, self._settings)
        await limits.publish()
        promoter = Promoter(keeper, poll_s=worker.poll_s)
        groups = GroupFollower(GroupStore(store), self._router)
        await groups.catch_up()
        grants = self._grants(store)
        await self._settle_left_behind(grants)
        with ExitStack() as stack:
            spool = self._open_spool(stack)
            deltas = DeltaWriter(store)
            engine = self._engine(store, groups, grants, upstreams, promoter, deltas, spool)
            self._take_signals(engine)
            heartbeat = stack.enter_context(self._heartbeat(store, engine))
            beating = self._role(engine, "heartbeat", heartbeat.run())
            signals = self._signals(store, engine)
            try:
                await signals.start()
                self._background.append(self._role(engine, "limit-publisher", limits.run()))
                self._background.append(self._role(engine, "group-follower", groups.run()))
                for name, role in self._roles(store, engine, keeper, promoter):
                    self._background.append(self._role(engine, name, role))
                log.info("%s serves %s, %d slots", self._name, ", ".join(upstreams), self._slots)
                await engine.run(is_finished=keeper.is_empty if self._plan.is_burst else None)
            finally:
                await end_tasks(*self._background)
                await deltas.close()
                await signals.stop()
                await end_tasks(beating)
        if self._failure is not None:
            raise self._failure
        if engine.in_flight:
            raise StoreUnavailable(f"{engine.in_flight} jobs could not be settled; their leases will run out")
        log.info("%s is done", self._name)

    def _roles(
        self, store: Store, engine: Engine, keeper: QueueKeeper, promoter: Promoter
    ) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """The background roles; any worker may do them."""
        settings = self._settings
        grace_s = settings.worker.renew_s + settings.redis.socket_timeout_s
        yield "promoter", promoter.run()
        yield "rescuer", Rescuer(keeper, grace_s=grace_s).run()
        yield "janitor", Janitor(store, self._queues, failure_ttl_s=settings.jobs.failure_ttl_s).run()
        yield "bookkeeper", Bookkeeper(store).run()
        if self._metrics is not None:
            yield "loop-watch", self._metrics.watch_loop()
            server = MetricsServer(store, self._metrics, self._plan.providers, port=self._plan.metrics_port)
            yield "metrics-server", server.run()
        if self._plan.parent is not None:
            yield "parent-watch", self._follow(self._plan.parent, engine)

    def _open_spool(self, stack: ExitStack) -> Spool | None:
        folder = self._settings.worker.spool_dir
        if not folder:
            return None
        spool = Spool(Path(folder), self._name)
        stack.callback(spool.close)
        return spool

    async def _settle_left_behind(self, grants: GrantStore) -> None:
        """Answers that a process of this machine had when it died go first: their jobs need no further call."""
        folder = self._settings.worker.spool_dir
        for outcomes in left_behind(Path(folder)) if folder else ():
            for group in cut(outcomes, most=self._settings.worker.flush_batch):
                codes = await grants.finalize(group, retry_s=self._settings.redis.retry_s)
                for outcome, code in zip(group, codes, strict=True):
                    log.warning("job %s: an answer from the spool was %s", outcome.grant.job_id, code)

    def _grants(self, store: Store) -> GrantStore:
        jobs, worker, lanes = self._settings.jobs, self._settings.worker, self._settings.lanes
        return GrantStore(
            store,
            worker=self._name,
            lease_s=worker.lease_s,
            max_data_bytes=jobs.max_body_bytes + CALL_BYTES,
            mirror=self._settings.rq.mirror,
            lanes={lane: getattr(lanes, lane.value) for lane in Lane},
            max_events=self._settings.telemetry.max_events,
            expired_error=EXPIRED.as_json(),
        )

    def _engine(
        self,
        store: Store,
        groups: GroupFollower,
        grants: GrantStore,
        upstreams: Mapping[str, Upstream],
        promoter: Promoter,
        deltas: DeltaWriter,
        spool: Spool | None,
    ) -> Engine:
        jobs, worker = self._settings.jobs, self._settings.worker
        policy = RetryPolicy(
            jobs.max_attempts, jobs.backoff_base_s, jobs.backoff_max_s, jobs.max_rate_limit_waits
        )
        max_bytes = jobs.max_body_bytes + CALL_BYTES
        facts = LiveFacts(
            store,
            self._catalogue,
            closed_s=self._settings.routing.failover_after_s,
        )
        attempts = AttemptRunner(
            self._router,
            upstreams,
            policy,
            catalogue=self._catalogue,
            rater=Rater(self._router, groups, facts, RatingStore(store), max_bytes=max_bytes),
            max_bytes=max_bytes,
            deltas=deltas,
            metrics=self._metrics,
        )
        return Engine(
            grants,
            attempts,
            providers=upstreams,
            concurrency=self._slots,
            claim_batch=worker.claim_batch,
            poll_s=worker.poll_s,
            flush_s=worker.flush_ms / 1000,
            flush_batch=worker.flush_batch,
            on_delay=promoter.parked,
            metrics=self._metrics,
            spool=spool,
        )

    @contextmanager
    def _heartbeat(self, store: Store, engine: Engine) -> Iterator[Heartbeat]:
        """The heartbeat with its own connection, which outlives it."""
        worker = self._settings.worker
        client = sync_client(self._plan.redis_url, self._settings.redis)
        flags = store.server.has_script_flags
        record = WorkerRecord(client, name=self._name, queues=self._queues, version=VERSION, with_flags=flags)
        leases = LeaseRenewer(client, with_flags=flags, lease_s=worker.lease_s)
        try:
            yield Heartbeat(engine, record, leases, lease_s=worker.lease_s, renew_s=worker.renew_s)
        finally:
            client.close()

    def _role(self, engine: Engine, name: str, role: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a role; one that ends by an error drains the process and is its exit."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.critical("%s ended: %r; the worker stops", name, error)
                self._failure = error
                self._stop(engine)

        task = asyncio.create_task(role, name=name)
        task.add_done_callback(ended)
        return task

    def _signals(self, store: Store, engine: Engine) -> Signals:
        commands, grants = keys.worker_commands(self._name), keys.grants_channel(self._name)
        # A queue that stopped being empty, or this worker, which waits for a slot.
        served = frozenset(name.encode() for name in (*self._queues, f"@{self._name}"))

        def on_message(channel: str, data: bytes) -> None:
            if channel == grants:
                engine.handed(*read_handed(data))
            elif channel == commands:
                dispatch(data, shutdown=lambda: self._stop(engine), stop_job=engine.stop_job)
            elif data in served:
                engine.wake()

        return Signals(store, [keys.WAKE, commands, grants], on_message=on_message, on_gap=engine.wake)

    def _take_signals(self, engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, engine)

    def _stop(self, engine: Engine) -> None:
        """First time: stop claiming and drain up to the grace period. Second time: give back now."""
        self._stops += 1
        if self._stops > 1:
            log.warning("asked again: giving back %d jobs", engine.in_flight)
            _give_up(engine)
            return
        grace_s = self._settings.worker.grace_s
        log.info("asked to stop: draining %d jobs for up to %.0f s", engine.in_flight, grace_s)
        engine.drain()
        asyncio.get_running_loop().call_later(grace_s, _give_up, engine)

    async def _follow(self, parent: int, engine: Engine) -> None:
        await until_gone(parent)
        log.info("the process that started this worker is gone")
        self._stop(engine)
        await asyncio.Event().wait()


def _give_up(engine: Engine) -> None:
    """Give everything back; if Redis does not even take that, leave it to the leases."""
    engine.give_back_all()
    asyncio.get_running_loop().call_later(LEAVE_S, engine.abandon)


def _slots_with_files(wanted: int) -> int:
    """A call in flight is a socket: take all the file descriptors there are, and the slots they suffice for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    slots = affordable(wanted, files=None if hard == resource.RLIM_INFINITY else hard)
    if slots < wanted:
        log.warning(
            "%d slots instead of %d: only %d files may be open; raise the limit (`ulimit -n`, `LimitNOFILE`)",
            slots, wanted, hard,
        )  # fmt: skip
    return slots
