"""Stores on every server version, driven directly: the scripts are public functions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import redis

from shared.job import EXPIRED, POISON, WORKER_LOST, Lane
from shared.settings import AdmissionSettings, RedisSettings
from shared.store.connect import Store
from shared.store.grants import (
    Grant,
    GrantStore,
    Load,
    Mirror,
    Outcome,
    OutcomeKind,
    QueueKeeper,
    Release,
    ReleaseReason,
)
from shared.store.jobs import Accepted, Cost, JobStore, NewJob
from tests.support import RedisServer

REQUEST = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


@dataclass
class Bench:
    """A store with the two sides' views of it, and a raw client to look underneath."""

    store: Store
    jobs: JobStore
    raw: redis.Redis
    claims: int = 0

    def worker(self, name: str = "w1", *, lease_s: float = 30, mirror: Mirror = "light") -> GrantStore:
        lanes = {Lane.INTERACTIVE: 70, Lane.DEFAULT: 25, Lane.BATCH: 5}
        return GrantStore(
            self.store,
            worker=name,
            lease_s=lease_s,
            max_data_bytes=10_000,
            mirror=mirror,
            lanes=lanes,
            max_events=100,
            expired_error=EXPIRED.as_json(),
        )

    def keeper(self, *, max_attempts: int = 3) -> QueueKeeper:
        return QueueKeeper(
            self.store,
            queues=["p.default", "p.batch"],
            max_attempts=max_attempts,
            max_events=100,
            lost_error=WORKER_LOST.as_json(),
            poison_error=POISON.as_json(),
            expired_error=EXPIRED.as_json(),
        )

    async def submit(
        self, *ids: str, queue: str = "p.default", expires_in_ms: int = 0, **fields: Any
    ) -> list[Accepted]:
        jobs = [self.new(job_id, queue=queue, expires_in_ms=expires_in_ms, **fields) for job_id in ids]
        return (await self.jobs.enqueue(jobs)).codes

    def new(
        self,
        job_id: str,
        *,
        queue: str = "p.default",
        request: bytes = REQUEST,
        expires_in_ms: int = 0,
        max_attempts: int = 3,
        client: str = "default",
        model: str = "m",
        prompt_tokens: int = 10,
        output_tokens: int = 10,
        fallbacks: Sequence[tuple[str, str]] = (),
    ) -> NewJob:
        candidates = [(queue.rpartition(".")[0], model), *fallbacks]
        info = orjson.dumps({"model": model, "candidates": candidates, "client": client})
        cost = Cost(prompt_tokens, output_tokens, len(request), client, model)
        return NewJob(job_id, queue, request, info, cost, candidates, max_attempts, expires_in_ms)

    async def claim(self, want: int = 10, *, worker: GrantStore | None = None) -> list[Grant]:
        self.claims += 1
        claimed = await (worker or self.worker()).claim(
            nonce=f"n{self.claims}", want=want, load={"p": Load()}
        )
        return claimed.grants

    async def end(self, grant: Grant, kind: OutcomeKind = "completed", *, value: bytes = b'{"a":1}') -> str:
        outcome = Outcome(grant, kind, value, b'{"type":"attempt"}', b'{"type":"outcome"}')
        (code,) = await self.worker().finalize([outcome], retry_s=5)
        return code

    async def give_back(
        self,
        grant: Grant,
        reason: ReleaseReason = "backoff",
        *,
        delay_ms: int = 0,
        gives_attempt_back: bool = False,
    ) -> str:
        release = Release(grant, reason, delay_ms, gives_attempt_back, b"", b"")
        (code,) = await self.worker().release([release], retry_s=5)
        return code

    def status(self, job_id: str) -> str | None:
        return self.raw.hget(f"rq:job:{job_id}", "status")

    def expire_leases(self) -> None:
        """What the passing of 30 s does."""
        for member in self.raw.zrange("chatq:leases", 0, -1):
            self.raw.zadd("chatq:leases", {member: 1})


MakeBench = Callable[[], Bench]


@pytest.fixture
async def bench(any_redis_url: str, any_redis_server: RedisServer) -> AsyncIterator[Bench]:
    store = await Store.open(any_redis_url, RedisSettings(url=any_redis_url, retry_s=5))
    with any_redis_server.client() as raw:
        jobs = JobStore(
            store, result_ttl_s=100, failure_ttl_s=200, max_events=100, bounds=AdmissionSettings()
        )
        for provider in ("p", "slow", "fast"):  # most tests are not about adaptive concurrency
            raw.hset("chatq:limits", f"account:{provider}", '{"set": {"concurrency": 100000}}')
        yield Bench(store, jobs, raw)
    await store.close()
