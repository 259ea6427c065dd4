"""The producer's client: submit chat jobs, wait for them, read and cancel them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Any

from producer.answers import Answers
from producer.dead import Dead
from producer.enqueuer import Enqueuer
from producer.grouped import Grouped
from producer.groups import Groups
from producer.limits import Limits
from producer.replay import Replayer
from producer.submission import Submission
from producer.waiter import Waiter
from producer.watch import Watch
from shared.background import end_tasks
from shared.catalogue import Catalogue
from shared.chat import ChatRequest, encode_request, parse_request
from shared.errors import JobNotFound, JobRejected
from shared.group_follower import GroupFollower
from shared.job import Job, JobState, Lane
from shared.live_facts import LiveFacts
from shared.providers import ProviderRegistry
from shared.routing import Router, features_of
from shared.settings import Settings
from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.dead import DeadLetters
from shared.store.deltas import DeltaReader
from shared.store.embedded import EmbeddedServer
from shared.store.groups import GroupStore
from shared.store.jobs import Accepted, JobStore
from shared.store.limits import LimitStore
from shared.store.status import QueueStatus, read_status
from shared.store.waiting import explain_wait
from shared.way import Way, find_way

TOGETHER = 100
"""Jobs that are read in one call for many callers."""


class Producer:
    """Hands chat jobs to the queues and follows them. Make one with `Producer.open` and share it.

    Attributes:
        redis_url: Where the store is; a worker started with it as `CHATQ_REDIS_URL` serves this producer.
        is_embedded: Whether that is the private server of this machine.
        warnings: What the operator should know about the store, one line each.
        limits: What may be sent, for operators.
        groups: Model groups, for operators.
        dead: Jobs that ended without an answer, for operators.
        answers: Waits for single jobs, also from their submit on.
        deltas: Follows answers that are streamed (`Submission.stream`), piece by piece.
    """

    def __init__(
        self, store: Store, registry: ProviderRegistry, settings: Settings, *, is_embedded: bool = False
    ) -> None:
        self.redis_url = store.url
        self.is_embedded = is_embedded
        self.warnings = store.server.warnings
        self._store = store
        self._router = Router.from_settings(settings, registry)
        group_store = GroupStore(store)
        self._follower = GroupFollower(group_store, self._router)
        self._facts = LiveFacts(
            store,
            Catalogue.from_settings(settings),
            closed_s=settings.routing.failover_after_s,
        )
        self._settings = settings
        self._jobs = JobStore(
            store,
            result_ttl_s=settings.jobs.result_ttl_s,
            failure_ttl_s=settings.jobs.failure_ttl_s,
            max_events=settings.telemetry.max_events,
            bounds=settings.admission,
        )
        self._enqueuer = Enqueuer(self._jobs, self._router, self._facts, settings.jobs)
        self._waiter = Waiter(store, self._jobs, keys.waiter_channel(secrets.token_hex(8)))
        self.deltas = DeltaReader(store, channel=self._waiter.channel)
        self._read = Grouped[str, Job | None](self._jobs.read, most=TOGETHER)
        self.answers = Answers(store, self._jobs, self._enqueuer, get=self.get)
        self.limits = Limits(LimitStore(store), registry)
        self.groups = Groups(group_store, self._follower, self._router)
        self.dead = Dead(DeadLetters(store), self._jobs, Replayer(self._router, self._facts))

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, registry: ProviderRegistry) -> AsyncIterator[Producer]:
        """Connect to the store; without a Redis URL, to the embedded server, started if need be.

        Raises:
            StoreUnavailable: Redis cannot be reached, or the embedded one does not start.
            StoreUnsuitable: The server would lose jobs.
            ConfigError: The Redis URL is malformed.
        """
        async with AsyncExitStack() as stack:
            url, is_embedded = settings.redis.url, not settings.redis.url
            notes: tuple[str, ...] = ()
            if is_embedded:
                server = await asyncio.to_thread(EmbeddedServer, settings.redis.data_dir)
                stack.push_async_callback(asyncio.to_thread, server.release)
                url, notes = server.url, server.warnings
            store = await Store.open(url, settings.redis)
            stack.push_async_callback(store.close)
            producer = cls(store, registry, settings, is_embedded=is_embedded)
            await producer._follower.catch_up()
            following = asyncio.create_task(producer._follower.run(), name="group-follower")
            stack.push_async_callback(end_tasks, following)
            producer.warnings = notes + producer.warnings
            stack.push_async_callback(producer._waiter.stop)
            stack.push_async_callback(producer.deltas.stop)
            stack.push_async_callback(producer._read.stop)
            stack.push_async_callback(producer.answers.stop)
            yield producer

    async def submit(
        self,
        request: ChatRequest | Mapping[str, Any],
        *,
        lane: Lane | str = Lane.DEFAULT,
        idempotency_key: str | None = None,
        client: str = "default",
        metadata: Mapping[str, Any] | None = None,
        source: str | None = None,
        expires_in_s: float | None = None,
        max_attempts: int | None = None,
        tags: Sequence[str] = (),
    ) -> str:
        """Accept one chat job (arguments: see `Submission`). Returns its id.

        Raises:
            InvalidRequest: A field is wrong; nothing was enqueued.
            ProviderNotFound: The model's provider is not registered; nothing was enqueued.
            IdempotencyConflict: The key was used with another body.
            LaneFull: A bound of the lane is reached; says when to come back.
            StoreFull: Redis is at maxmemory.
            StoreUnavailable: Unknown outcome; with an idempotency key, submit the same again.
        """
        submission = Submission(
            request, lane, idempotency_key, client, metadata, source, expires_in_s, max_attempts, tags
        )
        (result,) = await self.submit_many([submission])
        if isinstance(result, JobRejected):
            raise result
        return result

    async def submit_many(self, submissions: Iterable[Submission]) -> list[str | JobRejected]:
        """Accept many jobs in few round trips; a bad one does not hold up the others.

        Returns:
            A job id or the rejection for each submission, in order.

        Raises:
            StoreFull, StoreUnavailable: As `submit`; earlier ones of this call may be in.
        """
        return [result for result, _ in await self.accept_many(submissions)]

    async def accept_many(
        self, submissions: Iterable[Submission]
    ) -> list[tuple[str | JobRejected, Accepted | None]]:
        """As `submit_many`, and with each what the store made of it; None = it did not come so far."""
        return await self._enqueuer.enqueue(submissions)

    @property
    def store(self) -> Store:
        """The connection to Redis, for what else this process keeps there."""
        return self._store

    @property
    def router(self) -> Router:
        """What names lead to; its groups are those that were followed last."""
        return self._router

    async def route(
        self,
        request: ChatRequest | Mapping[str, Any],
        *,
        lane: Lane = Lane.DEFAULT,
        tags: Sequence[str] = (),
    ) -> Way:
        """Where a submit of this request would send it now; nothing is enqueued.

        Raises:
            InvalidRequest, ProviderNotFound: As `submit`.
            StoreUnavailable: No answer from Redis.
        """
        checked = request if isinstance(request, ChatRequest) else parse_request(dict(request))
        await self._follower.catch_up()
        request_json = encode_request(checked, max_bytes=self._settings.jobs.max_body_bytes)
        features = cache(lambda: features_of(checked, request_json, tags))
        return await self._facts.decide(
            lambda: find_way(checked, features, self._router, self._facts.of(lane))
        )

    async def get(self, job_id: str) -> Job:
        """The job as it is now; of a queued one also what holds it back, its place and an ETA.

        Raises:
            JobNotFound: No such job, or its result has expired.
        """
        return await self.explain(await self.look(job_id))

    async def look(self, job_id: str) -> Job:
        """The job as it is now, without place and ETA: looks of many callers at the same time go together.

        Raises:
            JobNotFound, StoreUnavailable: As `get`.
        """
        job = await self._read(job_id)
        if job is None:
            raise JobNotFound(f"no job {job_id}: it was never accepted, or its result has expired")
        return job

    async def explain(self, job: Job) -> Job:
        """The job with what holds it back, its place and an ETA, if it is queued."""
        return await explain_wait(self._store, job)

    async def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The jobs as they are now, None for unknown ones; in two round trips, so without place and ETA."""
        return await self._jobs.read(job_ids)

    async def wait(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """Wait until the job has ended; it goes on if the wait is given up.

        Args:
            timeout_s: Longest wait in seconds; 0 looks once. None: as long as it takes, outages of Redis too.

        Raises:
            WaitTimeout: Not within `timeout_s`.
            JobNotFound: No such job.
            StoreUnavailable: Redis was not reached within `timeout_s` (or `answers.REACH_S`, if that is longer).
        """
        return (await self.answers.finish(self.answers.expect(job_id), timeout_s=timeout_s)).read()

    async def cancel(self, job_id: str) -> JobState:
        """End a job: a queued one is never sent, a running call is dropped. Returns the state it is in now.

        Raises:
            JobNotFound: No such job.
        """
        ((_, after),) = await self._jobs.cancel([job_id])
        if not after:
            raise JobNotFound(f"no job {job_id}: it was never accepted, or its result has expired")
        # A word that is nobody's was written by a stranger; reading makes the best of it.
        return rq_layout.state_named(after) or (await self.get(job_id)).state

    async def cancel_many(self, job_ids: Sequence[str], *, spares_running: bool = False) -> int:
        """End many jobs; returns how many the store knows, ended ones included.

        Args:
            spares_running: Let calls that are being made end by themselves.
        """
        return sum(
            bool(after) for _, after in await self._jobs.cancel(job_ids, spares_running=spares_running)
        )

    async def cancel_unwatched(self, job_id: str) -> None:
        """End a job that nobody waits for any more; one that ended, or that nobody knows, is fine.

        A waiter of another process counts from when it registered until the job ends, even if it gave up.
        """
        if not (self.answers.is_expected(job_id) or self.deltas.is_followed(job_id)):
            own = (self.answers.channel, self._waiter.channel)
            await self._jobs.cancel([job_id], own_channels=own)

    async def forget(self, job_ids: Sequence[str]) -> int:
        """Delete ended jobs whose outcome is safe elsewhere; returns how many. Unfinished ones stay."""
        return await self._jobs.forget(job_ids)

    def watch(self) -> Watch:
        """Submit and collect many jobs; see `Watch`."""
        return Watch(self._waiter, self._jobs, self._enqueuer)

    async def status(self) -> QueueStatus:
        """All queues and workers at this moment."""
        return await read_status(self._store)
