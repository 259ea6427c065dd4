"""Workers as RQ's registry shows them: birth, heartbeat, death; and the view that `chatq status` gives."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import redis
from redis.exceptions import RedisError

from shared.job import Lane
from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.scripts import Arg, run_once, translate

LANES = frozenset(lane.value for lane in Lane)

WORKER_TTL_S = 60
"""Life of a worker's hash after its last heartbeat: several heartbeats (rq-internals §7)."""

DEAD_TTL_S = 60
"""How long a worker that left is still shown, as RQ does."""


class WorkerRecord:
    """One worker's entry in RQ's registry, kept by the heartbeat's synchronous client."""

    def __init__(
        self, client: redis.Redis, *, name: str, queues: Sequence[str], version: str, with_flags: bool
    ) -> None:
        self._client = client
        self._name = name
        self._key = keys.worker(name)
        self._queues = queues
        self._with_flags = with_flags
        self._fields: dict[str, str | int] = {
            "birth": rq_layout.format_date(time.time()),
            "hostname": socket.gethostname(),
            "ip_address": "",
            "pid": os.getpid(),
            "version": f"chatq {version}",
            "python_version": platform.python_version(),
        }

    def beat(self, *, in_flight: int, is_draining: bool) -> None:
        """Write the whole entry, so that it also comes back after Redis lost it.

        Raises:
            StoreError: Redis did not take it.
        """
        fields: dict[str, str | int] = {
            **self._fields,
            "last_heartbeat": rq_layout.format_date(time.time()),
            "state": "suspended" if is_draining else "busy" if in_flight else "idle",
            "cq_in_flight": in_flight,
        }
        args: list[Arg] = [self._name, WORKER_TTL_S, ",".join(self._queues)]
        args += [word for pair in fields.items() for word in pair]
        run_once(self._client, "beat_worker", args, with_flags=self._with_flags)

    def bury(self) -> None:
        """Leave the registry.

        Raises:
            StoreError: Redis did not take it; the entry's TTL will do the same.
        """
        try:
            with self._client.pipeline(transaction=True) as pipe:
                pipe.srem(keys.WORKERS, self._key)
                for queue in self._queues:
                    pipe.srem(keys.queue_workers(queue), self._key)
                pipe.hset(self._key, "death", rq_layout.format_date(time.time()))
                pipe.expire(self._key, DEAD_TTL_S)
                pipe.execute()
        except RedisError as exc:
            raise translate(exc) from exc


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One living worker."""

    name: str
    hostname: str
    pid: int
    state: str
    queues: tuple[str, ...]
    last_seen_s: float
    """Age of its last heartbeat by the reader's clock."""
    in_flight: int | None
    """None for a stock RQ worker."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue: a provider's lane."""

    name: str
    provider: str
    lane: str
    waiting: int
    in_flight: int
    scheduled: int
    """Waiting out a backoff or a rate limit."""
    finished: int
    failed: int
    oldest_age_s: float | None
    """Age of the job at the head, by the reader's clock; None for an empty queue."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The state of the whole system at one moment."""

    queues: list[QueueView]
    workers: list[WorkerView]
    is_suspended: bool
    totals: dict[str, int]
    """Since the store was created: accepted, completed, failed, cancelled, expired, rescued, backoff …"""


async def read_status(store: Store) -> QueueStatus:
    """Read all queues and workers; the cost grows with their number, not with the jobs.

    Raises:
        StoreUnavailable: No answer from Redis.
    """
    client = store.client
    try:
        async with client.pipeline(transaction=False) as pipe:
            pipe.smembers(keys.QUEUES)
            pipe.smembers(keys.WORKERS)
            pipe.exists(keys.SUSPENDED)
            pipe.hgetall(keys.TOTALS)
            queue_keys, worker_keys, suspended, totals = await pipe.execute()
        names = sorted(key.decode().removeprefix("rq:queue:") for key in queue_keys)
        return QueueStatus(
            queues=[await _read_queue(store, name) for name in names],
            workers=await _read_workers(store, sorted(worker_keys)),
            is_suspended=bool(suspended),
            totals={key.decode(): int(value) for key, value in totals.items()},
        )
    except RedisError as exc:
        raise translate(exc) from exc


async def _read_queue(store: Store, name: str) -> QueueView:
    async with store.client.pipeline(transaction=False) as pipe:
        pipe.llen(keys.queue(name))
        pipe.zcard(keys.started(name))
        pipe.zcard(keys.scheduled(name))
        pipe.zcard(keys.finished(name))
        pipe.zcard(keys.failed(name))
        pipe.lindex(keys.queue(name), 0)
        waiting, in_flight, scheduled, finished, failed, head = await pipe.execute()
    enqueued = await store.client.hget(keys.job(head.decode()), "enqueued_at") if head else None
    enqueued_at = rq_layout.parse_date(enqueued.encode() if isinstance(enqueued, str) else enqueued)
    provider, _, lane = name.rpartition(".")
    return QueueView(
        name=name,
        provider=provider or name,
        lane=lane if lane in LANES else "",
        waiting=waiting,
        in_flight=in_flight,
        scheduled=scheduled,
        finished=finished,
        failed=failed,
        oldest_age_s=max(0.0, time.time() - enqueued_at) if enqueued_at else None,
    )


async def _read_workers(store: Store, worker_keys: Sequence[bytes]) -> list[WorkerView]:
    async with store.client.pipeline(transaction=False) as pipe:
        for key in worker_keys:
            pipe.hgetall(key)
        rows = await pipe.execute()
    views = []
    for key, raw in zip(worker_keys, rows, strict=True):
        row = {name.decode(): value.decode(errors="replace") for name, value in raw.items()}
        seen_at = rq_layout.parse_date(row.get("last_heartbeat", "").encode())
        if not row or "death" in row or seen_at is None:
            continue  # expired or gone: the set keeps the name until the janitor comes by
        views.append(
            WorkerView(
                name=key.decode().removeprefix("rq:worker:"),
                hostname=row.get("hostname", ""),
                pid=rq_layout.parse_int(row.get("pid", "").encode()) or 0,
                state=row.get("state", "?"),
                queues=tuple(row.get("queues", "").split(",")),
                last_seen_s=max(0.0, time.time() - seen_at),
                in_flight=rq_layout.parse_int(row.get("cq_in_flight", "").encode()),
            )
        )
    return views
