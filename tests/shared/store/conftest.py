"""Stores on every server version, driven directly: the scripts are public functions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import redis

from shared.job import EXPIRED, POISON, STREAM_BROKEN, WORKER_LOST, Lane
from shared.observed_limits import ObservedLimits
from shared.settings import AdmissionSettings, RedisSettings
from shared.store.call_result import Blame, CallResult, Verdict
from shared.store.connect import Store
from shared.store.grants import (
    Claimed,
    Grant,
    GrantStore,
    Load,
    Mirror,
    Outcome,
    OutcomeKind,
    Release,
    ReleaseReason,
)
from shared.store.jobs import Accepted, Cost, JobStore, NewJob
from shared.store.limits import LimitStore
from shared.store.queue_keeper import QueueKeeper
from tests.support import RedisServer

REQUEST = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'

LANES = {Lane.INTERACTIVE: 70, Lane.DEFAULT: 25, Lane.BATCH: 5}

# Scripts read Redis's clock, which no test can set: so every stored time moves back instead, and every TTL shrinks.
SHIFT = """
local ms = tonumber(ARGV[1])
local MS_KEYS = {['chatq:leases'] = true, ['chatq:deadlines'] = true, ['chatq:closed'] = true,
  ['chatq:standing'] = true, ['chatq:webhooks:due'] = true, ['chatq:webhooks:leases'] = true}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local ttl = redis.call('PTTL', key)
  if kind == 'string' and string.find(key, '^chatq:scope:') then
    local state = cjson.decode(redis.call('GET', key))
    for field, value in pairs(state) do
      local is_time = string.find(field, '_at$') or string.find(field, '_until$') or string.find(field, '_since$')
      if is_time then state[field] = value - ms end
    end
    redis.call('SET', key, cjson.encode(state), 'KEEPTTL')
  elseif kind == 'zset' then
    local unit = string.find(key, '^rq:scheduled:') and 1000
      or (string.find(key, '^chatq:later:') or MS_KEYS[key]) and 1
    local entries = unit and redis.call('ZRANGE', key, 0, -1) or {}
    for _, member in ipairs(entries) do redis.call('ZINCRBY', key, -ms / unit, member) end
  elseif kind == 'hash' and string.find(key, '^rq:job:') and redis.call('HEXISTS', key, 'cq_deadline') == 1 then
    redis.call('HINCRBY', key, 'cq_deadline', -ms)
  end
  if ttl > ms then redis.call('PEXPIRE', key, ttl - ms) elseif ttl >= 0 then redis.call('DEL', key) end
end
"""


@dataclass
class Bench:
    """A store with the two sides' views of it, and a raw client to look underneath."""

    store: Store
    jobs: JobStore
    raw: redis.Redis
    limits: LimitStore
    claims: int = 0
    passed_s: float = 0.0
    """How much time was made to pass."""
    _passed_at_claim: dict[str, float] = field(default_factory=dict)

    def worker(
        self, name: str = "w1", *, lease_s: float = 30, mirror: Mirror = "light", max_data_bytes: int = 10_000
    ) -> GrantStore:
        return GrantStore(
            self.store,
            worker=name,
            lease_s=lease_s,
            max_data_bytes=max_data_bytes,
            mirror=mirror,
            lanes=LANES,
            max_events=100,
            expired_error=EXPIRED.as_json(),
        )

    def keeper(
        self, *, max_attempts: int = 3, queues: Sequence[str] = ("p.default", "p.batch")
    ) -> QueueKeeper:
        return QueueKeeper(
            self.store,
            queues=queues,
            max_attempts=max_attempts,
            max_events=100,
            lost_error=WORKER_LOST.as_json(),
            poison_error=POISON.as_json(),
            broken_error=STREAM_BROKEN.as_json(),
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

    async def look(
        self,
        want: int = 10,
        *,
        worker: GrantStore | None = None,
        load: Mapping[str, Load] | Sequence[str] = ("p",),
    ) -> Claimed:
        """A claim with all that it tells."""
        self.claims += 1
        loads = load if isinstance(load, Mapping) else {name: Load() for name in load}
        claimed = await (worker or self.worker()).claim(nonce=f"n{self.claims}", want=want, load=loads)
        self.note(claimed.grants)
        return claimed

    def note(self, grants: Sequence[Grant]) -> None:
        """Remembers when these were granted."""
        self._passed_at_claim |= {grant.member: self.passed_s for grant in grants}

    async def claim(
        self,
        want: int = 10,
        *,
        worker: GrantStore | None = None,
        load: Mapping[str, Load] | Sequence[str] = ("p",),
    ) -> list[Grant]:
        return (await self.look(want, worker=worker, load=load)).grants

    def granted_at(self, grant: Grant) -> float:
        """When, in seconds on a clock that also counts the time that was made to pass."""
        return grant.claimed_at + self._passed_at_claim[grant.member]

    def shown(
        self,
        grant: Grant,
        verdict: Verdict = "good",
        *,
        prompt: int | None = None,
        output: int | None = None,
        observed: ObservedLimits | None = None,
        blame: Blame | None = None,
        ended: str = "",
    ) -> bytes:
        """What its call showed; sent when it was granted. Without a word on how it `ended`, none was made."""
        sent_at = self.granted_at(grant) - self.passed_s
        return CallResult(
            grant.reserved, sent_at, verdict, prompt, output, observed, blame, ended=ended
        ).encode()

    async def end(
        self, grant: Grant, kind: OutcomeKind = "completed", *, value: bytes = b'{"a":1}', shown: bytes = b""
    ) -> str:
        outcome = Outcome(grant, kind, value, b'{"type":"attempt"}', b'{"type":"outcome"}', shown)
        (code,) = await self.worker().finalize([outcome], retry_s=5)
        return code

    async def settle(
        self, grants: Sequence[Grant], shown: Sequence[bytes], kind: OutcomeKind = "completed"
    ) -> list[str]:
        """Outcomes of calls, settled together."""
        outcomes = [Outcome(g, kind, b"{}", b"", b"", s) for g, s in zip(grants, shown, strict=True)]
        return await self.worker().finalize(outcomes, retry_s=5)

    async def answer(self, *grants: Grant, prompt: int | None = None, output: int | None = None) -> list[str]:
        """Good answers, settled together."""
        return await self.settle(grants, [self.shown(g, prompt=prompt, output=output) for g in grants])

    async def fail(self, *grants: Grant, blame: Blame | None = None) -> list[str]:
        """Failures of the upstream, settled together; the model is blamed unless said otherwise."""
        shown = [self.shown(g, "bad", blame=blame or Blame("model", "failure")) for g in grants]
        return await self.settle(grants, shown, "failed")

    async def limit(self, grant: Grant, blame: Blame, *, delay_ms: int = 0, late_error: bytes = b"{}") -> str:
        """The upstream turned the call away for a limit."""
        shown = self.shown(grant, "limited", blame=blame)
        release = Release(grant, "rate_limited", delay_ms, True, b"", b"", shown, late_error)
        (code,) = await self.worker().release([release], retry_s=5)
        return code

    async def give_back(
        self,
        grant: Grant,
        reason: ReleaseReason = "backoff",
        *,
        delay_ms: int = 0,
        gives_attempt_back: bool = False,
        error: bytes = b"",
        event: bytes = b"",
        shown: bytes = b"",
    ) -> str:
        release = Release(grant, reason, delay_ms, gives_attempt_back, error, event, shown)
        (code,) = await self.worker().release([release], retry_s=5)
        return code

    def state(self, scope: str) -> dict[str, Any]:
        """The ledger's state of a scope, as stored."""
        state: dict[str, Any] = orjson.loads(self.raw.get(f"chatq:scope:{scope}") or b"{}")
        return state

    def in_flight(self, scope: str) -> int:
        """Slots taken in a scope."""
        return self.raw.scard(f"chatq:slots:{scope}")

    def set_policy(self, **numbers: float) -> None:
        """Numbers of the breaker and of failover (`get_policy` in `lua/lib/ledger.lua`)."""
        known = orjson.loads(self.raw.hget("chatq:limits", "policy") or b"{}")
        self.raw.hset("chatq:limits", "policy", orjson.dumps(known | numbers))

    def serve(self, *queues: str) -> None:
        """Has a living worker stand behind queues, as failover sees it."""
        self.raw.hset("rq:worker:w1", "state", "idle")
        self.raw.expire("rq:worker:w1", 86400)
        for queue in queues:
            self.raw.sadd(f"rq:workers:{queue}", "rq:worker:w1")

    def let_time_pass(self, seconds: float) -> None:
        """All that is stored gets older by that much."""
        self.passed_s += seconds
        self.raw.eval(SHIFT, 0, round(seconds * 1000))

    def status(self, job_id: str) -> str | None:
        return self.raw.hget(f"rq:job:{job_id}", "status")

    def expire_leases(self) -> None:
        """What the passing of 30 s does."""
        for member in self.raw.zrange("chatq:leases", 0, -1):
            self.raw.zadd("chatq:leases", {member: 1})


@asynccontextmanager
async def open_bench(
    server: RedisServer, *, bounds: AdmissionSettings | None = None, result_ttl_s: int = 100
) -> AsyncIterator[Bench]:
    """A bench on a server that is running."""
    store = await Store.open(server.url, RedisSettings(url=server.url, retry_s=5))
    with server.client() as raw:
        jobs = JobStore(
            store,
            result_ttl_s=result_ttl_s,
            failure_ttl_s=2 * result_ttl_s,
            max_events=100,
            bounds=bounds or AdmissionSettings(),
        )
        for provider in ("p", "slow", "fast"):  # most tests are not about adaptive concurrency
            raw.hset("chatq:limits", f"account:{provider}", '{"set": {"concurrency": 100000}}')
        yield Bench(store, jobs, raw, LimitStore(store))
    await store.close()


@pytest.fixture
async def bench(any_redis_url: str, any_redis_server: RedisServer) -> AsyncIterator[Bench]:
    """On each version of server."""
    async with open_bench(any_redis_server) as opened:
        yield opened


@pytest.fixture
async def new_bench(redis_url: str, redis_server: RedisServer) -> AsyncIterator[Bench]:
    """On the newest server only: for what takes long and is arithmetic."""
    async with open_bench(redis_server) as opened:
        yield opened
