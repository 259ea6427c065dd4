"""Jobs as the producer sees them: accept, read, watch, cancel, forget."""

from __future__ import annotations

import enum
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson
from redis.exceptions import RedisError

from shared.job import Candidate, Job, JobError, JobState
from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.scripts import Arg, translate

BATCH = 200
"""Jobs a script call: keeps one call around 2 ms of Redis, which serves nobody else meanwhile."""

_FIELDS = (
    "status", "cq_state", "origin", "cq_info", "cq_attempts", "created_at", "started_at", "ended_at",
    "cq_result", "cq_error", "cq_wait", "worker_name",
)  # fmt: skip


class Accepted(enum.IntEnum):
    """What the store made of a job that was handed in."""

    NEW = 1
    KNOWN = 0
    """The same job is there already, unfinished."""
    ENDED = 2
    """The same job is there already, with its outcome."""
    CONFLICT = -1
    """Another job holds this id."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A validated, routed job on its way into the store."""

    id: str
    queue: str
    request_json: bytes
    info_json: bytes
    """`{"model": requested, "candidates": [[provider, model], …], "client"?, "source"?, "metadata"?}`"""
    max_attempts: int
    expires_in_ms: int
    """0 = no deadline."""


def new_id() -> str:
    """A fresh job id: 48 bits of Unix ms and 80 random bits, hex; sorts by time, valid for RQ."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def id_from_key(client: str, key: str) -> str:
    """The job id that an idempotency key stands for, within one client: same key, same id."""
    return hashlib.blake2b(f"{client}\0{key}".encode(), digest_size=16).hexdigest()


def digest(request_json: bytes) -> bytes:
    """What tells two request bodies apart under one idempotency key."""
    return hashlib.blake2b(request_json, digest_size=8).hexdigest().encode()


class JobStore:
    """The producer's access to jobs. All calls are safe to repeat.

    Args:
        result_ttl_s: How long an answer is kept after it came.
        failure_ttl_s: The same for errors and cancelled jobs.
        timeout_s: RQ's own time limit, for stock workers only; chatq's is the provider's.
        max_events: Length of the telemetry stream; 0 = off.
    """

    def __init__(
        self,
        store: Store,
        *,
        result_ttl_s: int,
        failure_ttl_s: int,
        max_events: int,
        timeout_s: int = 180,
    ) -> None:
        self._store = store
        self._max_events = max_events
        self._head: tuple[Arg, ...] = (result_ttl_s, failure_ttl_s, timeout_s)

    async def enqueue(self, jobs: Sequence[NewJob], *, channel: str = "") -> list[Accepted]:
        """Hand jobs in; with `channel`, its owner is told when they end.

        Raises:
            StoreFull: Over maxmemory; the jobs of earlier batches of this call are in.
            StoreUnavailable: Unknown outcome; hand the same jobs in again.
        """
        codes: list[Accepted] = []
        for start in range(0, len(jobs), BATCH):
            args: list[Arg] = [*self._head, channel]
            for job in islice(jobs, start, start + BATCH):
                args += (
                    job.id, digest(job.request_json), job.queue, rq_layout.encode_call(job.request_json),
                    job.info_json, job.max_attempts, job.expires_in_ms,
                )  # fmt: skip
            codes += [Accepted(code) for code in await self._store.run("enqueue_jobs", args)]
        return codes

    async def watch(self, job_ids: Sequence[str], *, channel: str) -> list[int]:
        """Have the channel told when jobs end. Returns a code a job: 0 watched, 2 ended already, -1 unknown."""
        codes: list[int] = []
        for start in range(0, len(job_ids), BATCH):
            codes += await self._store.run("watch_jobs", [channel, *job_ids[start : start + BATCH]])
        return codes

    async def read(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The jobs as they are now; None for an id the store does not know.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        try:
            async with self._store.client.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hmget(keys.job(job_id), *_FIELDS)
                rows = await pipe.execute()
            return [
                await self._view(job_id, row) if row[0] is not None else None
                for job_id, row in zip(job_ids, rows, strict=True)
            ]
        except RedisError as exc:
            raise translate(exc) from exc

    async def cancel(self, job_ids: Sequence[str]) -> list[tuple[str, str]]:
        """End jobs as cancelled. Returns (state before, state after) a job; empty strings for unknown ids."""
        words = await self._store.run("cancel_jobs", [self._max_events, *job_ids])
        reply = [word.decode() for word in words]
        return list(zip(reply[::2], reply[1::2], strict=True))

    async def forget(self, job_ids: Sequence[str]) -> int:
        """Delete ended jobs whose outcome has been collected; returns how many. Unfinished ones stay."""
        gone = 0
        for start in range(0, len(job_ids), BATCH):
            gone += await self._store.run("forget_jobs", list(job_ids[start : start + BATCH]))
        return gone

    async def _view(self, job_id: str, row: list[bytes | None]) -> Job:
        status, fine, origin, info_json, attempts, created, started, ended, result, error, wait, worker = row
        state = rq_layout.state_of(status or b"", fine)
        info = _json_object(info_json)
        queue = (origin or b"").decode()
        candidates = info.get("candidates") or []
        job_error = _error(error) if state is not JobState.COMPLETED else None
        if state is JobState.COMPLETED and result is None:
            result = await self._stock_result(job_id)
        elif state is JobState.FAILED and job_error is None:
            job_error = await self._stock_error(job_id)
        waits_until = None
        if status == b"scheduled":
            waits_until = await self._store.client.zscore(keys.scheduled(queue), job_id)
        return Job(
            id=job_id,
            state=state,
            queue=queue,
            lane=queue.rpartition(".")[2],
            requested_model=info.get("model"),
            candidate=Candidate(*candidates[0]) if candidates else None,
            attempts=int(attempts or 0),
            created_at=rq_layout.parse_date(created),
            started_at=rq_layout.parse_date(started),
            ended_at=rq_layout.parse_date(ended),
            waits_until=waits_until,
            wait_reason=_wait_reason(status, wait),
            response=_json_object(result) or None,
            error=job_error if state.is_terminal or status == b"scheduled" else None,
            source=info.get("source"),
            metadata=info.get("metadata") or {},
            worker=worker.decode() if worker else None,
        )

    async def _stock_result(self, job_id: str) -> bytes | None:
        """The answer of a job that a stock `rq worker` ran: it stands in RQ's result stream only."""
        return rq_layout.decode_result_entry(await self._last_result(job_id))[0]

    async def _stock_error(self, job_id: str) -> JobError:
        """The same for its error: the last line of the traceback."""
        text = rq_layout.decode_result_entry(await self._last_result(job_id))[1]
        last_line = (text or "the job failed outside chatq").strip().splitlines()[-1]
        return JobError("failed_outside_chatq", last_line[:500])

    async def _last_result(self, job_id: str) -> dict[bytes, bytes]:
        entries: Any = await self._store.client.xrevrange(keys.results(job_id), count=1)
        return entries[0][1] if entries else {}


def _json_object(raw: bytes | None) -> dict[str, Any]:
    """A JSON object from Redis; anything else reads as empty, because Redis content is untrusted."""
    try:
        value = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _error(raw: bytes | None) -> JobError | None:
    fields = _json_object(raw)
    if not fields:
        return None
    known = {name: fields.get(name) for name in ("status", "provider", "upstream_model")}
    return JobError(str(fields.get("code", "failed")), str(fields.get("message", "")), **known)


def _wait_reason(status: bytes | None, wait: bytes | None) -> str | None:
    if status == b"queued":
        return "ready"
    return (wait or b"backoff").decode() if status == b"scheduled" else None
