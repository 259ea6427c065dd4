"""Grants: a worker's exclusive, leased hold on a job, from claim to settle.

A grant is named by job id and token (`<epoch>-<nonce>`). Its lease is the member `<id>:<token>` in
`chatq:leases`: removing that member is the fence that every later step goes through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from redis.exceptions import RedisError

from shared.job import Lane
from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.scripts import Arg, translate

Mirror = Literal["light", "full"]
OutcomeKind = Literal["completed", "failed", "expired", "cancelled", "stopped"]
ReleaseReason = Literal["backoff", "rate_limited", "drain"]


@dataclass(frozen=True, slots=True)
class Grant:
    """One job, granted. Times are Unix seconds on Redis's clock; `data` and `info` are untrusted."""

    job_id: str
    token: str
    queue: str
    data: bytes
    """RQ's serialized call; empty when it was over the size limit."""
    info: bytes
    attempts: int
    """Calls counted, this one included, unless the deadline has already passed."""
    max_attempts: int
    """0 = the job does not say (enqueued with plain RQ)."""
    deadline_at: float | None
    enqueued_at: float | None
    claimed_at: float
    rate_limit_waits: int
    """How often a 429 has sent it back so far."""

    @property
    def member(self) -> str:
        """The grant's name in `chatq:leases` and `rq:wip:<queue>`."""
        return f"{self.job_id}:{self.token}"


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim brought.

    Attributes:
        left: Jobs still waiting in the queues looked at; -1 while RQ's suspend is on.
    """

    grants: list[Grant]
    left: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a grant ended, on its way into the store.

    Attributes:
        value: Result or error as JSON.
        attempt_event: Telemetry of the call as JSON, empty when no call was made.
        outcome_event: Telemetry of the job as JSON.
    """

    grant: Grant
    kind: OutcomeKind
    value: bytes
    attempt_event: bytes
    outcome_event: bytes


@dataclass(frozen=True, slots=True)
class Release:
    """A grant given back.

    Attributes:
        delay_ms: 0 = to the front of its queue now.
        gives_attempt_back: The attempt was not a failed one: a rate limit, or a drain.
        error: Why, as JSON, or empty.
    """

    grant: Grant
    reason: ReleaseReason
    delay_ms: int
    gives_attempt_back: bool
    error: bytes
    attempt_event: bytes


class GrantStore:
    """The worker's access to jobs. All calls are safe to repeat.

    Args:
        worker: The worker's name in RQ's registry.
        max_data_bytes: Larger payloads are not handed out.
        lanes: Lane weights.
        max_events: Length of the telemetry stream; 0 = off.
    """

    def __init__(
        self,
        store: Store,
        *,
        worker: str,
        lease_s: float,
        max_data_bytes: int,
        mirror: Mirror,
        lanes: Mapping[Lane, int],
        max_events: int,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._max_events = max_events
        weights = [word for lane, weight in lanes.items() for word in (lane.value, weight)]
        self._claim_head: tuple[Arg, ...] = (worker,)
        self._claim_tail: tuple[Arg, ...] = (
            int(lease_s * 1000),
            max_data_bytes,
            mirror,
            len(lanes),
            *weights,
        )

    async def claim(self, *, nonce: str, want: int, in_flight: Mapping[str, int]) -> Claimed:
        """Take up to `want` jobs.

        Args:
            nonce: Fresh per claim, the same when this claim is sent again: it gets the same grants.
            in_flight: For each provider served, how many of its calls this worker runs.

        Raises:
            StoreUnavailable: No answer; send the same claim again.
        """
        providers = [word for name, count in in_flight.items() for word in (name, count)]
        reply = await self._store.run(
            "claim_jobs", [*self._claim_head, nonce, want, *self._claim_tail, *providers]
        )
        now_s = reply[0] / 1e6
        grants = [
            Grant(
                job_id=job_id.decode(),
                token=token.decode(),
                queue=queue.decode(),
                data=data,
                info=info,
                attempts=attempts,
                max_attempts=max_attempts,
                deadline_at=deadline_ms / 1000 if deadline_ms else None,
                enqueued_at=rq_layout.parse_date(enqueued),
                claimed_at=now_s,
                rate_limit_waits=waits,
            )
            for job_id, token, queue, data, info, attempts, max_attempts, deadline_ms, enqueued, waits in zip(
                *(iter(reply[2:]),) * 10, strict=True
            )
        ]
        return Claimed(grants, reply[1])

    async def finalize(self, outcomes: Sequence[Outcome], *, retry_s: float) -> list[str]:
        """Store outcomes. Returns a code each: ok, same, salvaged, stale, revoked, gone, broken.

        Raises:
            StoreUnavailable: No answer within `retry_s`; send the same outcomes again, never the calls.
        """
        args: list[Arg] = [self._mirror, self._max_events]
        for o in outcomes:
            args += (
                o.grant.job_id, o.grant.token, o.kind, o.value, o.attempt_event, o.outcome_event,
                self._mirrored(o), o.grant.queue,
            )  # fmt: skip
        return [code.decode() for code in await self._store.run("finalize_jobs", args, retry_s=retry_s)]

    def _mirrored(self, outcome: Outcome) -> bytes:
        """The value as RQ's result stream holds it; nothing in the light mirror."""
        if self._mirror == "light":
            return b""
        if outcome.kind == "completed":
            return rq_layout.encode_result(outcome.value)
        return rq_layout.encode_traceback(outcome.value.decode())

    async def release(self, releases: Sequence[Release], *, retry_s: float) -> list[str]:
        """Give grants back. Returns a code each: ok, stale, revoked, gone, broken.

        Raises:
            StoreUnavailable: No answer within `retry_s`; send the same again.
        """
        args: list[Arg] = [self._max_events]
        for r in releases:
            args += (
                r.grant.job_id, r.grant.token, r.reason, r.delay_ms, int(r.gives_attempt_back),
                r.error, r.attempt_event, r.grant.queue,
            )  # fmt: skip
        return [code.decode() for code in await self._store.run("release_jobs", args, retry_s=retry_s)]


class QueueKeeper:
    """The background chores on queues: due jobs back, abandoned jobs back. Any worker may do them."""

    CHUNK = 100

    def __init__(self, store: Store, *, queues: Sequence[str], max_attempts: int, max_events: int) -> None:
        self._store = store
        self._queues = queues
        self._rescue_args: tuple[Arg, ...] = (self.CHUNK, max_attempts, max_events)

    async def promote(self) -> float | None:
        """Put due jobs back on their queues.

        Returns:
            Seconds until the next one is due, or None when none waits.
        """
        while True:
            promoted, next_ms = await self._store.run("promote_jobs", [self.CHUNK, *self._queues])
            if promoted < self.CHUNK:
                return next_ms / 1000 if next_ms >= 0 else None

    async def rescue(self, lost_error: bytes) -> tuple[list[str], list[str]]:
        """Take back jobs whose lease ran out, at most `CHUNK`.

        Args:
            lost_error: The error (JSON) of a job that has no attempt left.

        Returns:
            Ids put back, ids failed.
        """
        back, failed = await self._store.run("rescue_jobs", [*self._rescue_args, lost_error, *self._queues])
        return back.decode().split(), failed.decode().split()

    async def now(self) -> float:
        """Redis's time, Unix seconds."""
        try:
            seconds, microseconds = await self._store.client.time()
        except RedisError as exc:
            raise translate(exc) from exc
        return seconds + microseconds / 1e6

    async def is_empty(self) -> bool:
        """Whether nothing is queued, due or in flight on these queues, by anybody."""
        try:
            async with self._store.client.pipeline(transaction=True) as pipe:
                for name in self._queues:
                    pipe.llen(keys.queue(name))
                    pipe.zcard(keys.scheduled(name))
                    pipe.zcard(keys.started(name))
                return not any(await pipe.execute())
        except RedisError as exc:
            raise translate(exc) from exc
