"""Workers as RQ's registry shows them: birth, heartbeat, death, and who is there."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import redis
from redis.exceptions import RedisError

from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.pipe import Arg
from shared.store.scripts import run_once, translate

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


async def read_workers(store: Store, worker_keys: Sequence[bytes]) -> list[WorkerView]:
    """The living ones among the workers of these keys.

    Raises:
        RedisError: No answer from Redis.
    """
    async with store.client.pipeline(transaction=False) as pipe:
        for key in worker_keys:
            pipe.hgetall(key)
        rows = await pipe.execute()
    views = []
    for key, raw in zip(worker_keys, rows, strict=True):
        row = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in raw.items()}
        seen_at = rq_layout.parse_date(row.get("last_heartbeat", "").encode())
        if not row or "death" in row or seen_at is None:
            continue  # expired or gone: the set keeps the name until the janitor comes by
        views.append(
            WorkerView(
                name=key.decode(errors="replace").removeprefix("rq:worker:"),
                hostname=row.get("hostname", ""),
                pid=rq_layout.parse_int(row.get("pid", "").encode()) or 0,
                state=row.get("state", "?"),
                queues=tuple(row.get("queues", "").split(",")),
                last_seen_s=max(0.0, time.time() - seen_at),
                in_flight=rq_layout.parse_int(row.get("cq_in_flight", "").encode()),
            )
        )
    return views
