"""Hygiene: trims what ended long ago from RQ's registries. Nobody else does when no stock worker runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from redis.exceptions import RedisError

from shared.store import keys
from shared.store.connect import Store
from shared.store.scripts import translate

CHUNK = 500


async def trim_registries(store: Store, queues: Sequence[str], *, failure_ttl_s: int) -> None:
    """Drop registry entries whose job has expired, and registry names of workers that are gone.

    A job cancelled through RQ itself has no TTL and the cancel time as its score: it gets `failure_ttl_s` first.
    Safe to run from any number of workers.

    Raises:
        StoreUnavailable: No answer from Redis; what is left waits for the next round.
    """
    client, now = store.client, time.time()
    try:
        for name in queues:
            async with client.pipeline(transaction=False) as pipe:
                pipe.zremrangebyscore(keys.finished(name), 0, now)
                pipe.zremrangebyscore(keys.failed(name), 0, now)
                pipe.zrangebyscore(keys.cancelled(name), 0, now, start=0, num=CHUNK)
                *_, cancelled = await pipe.execute()
            async with client.pipeline(transaction=False) as pipe:
                for job_id in cancelled:
                    pipe.ttl(_job(job_id))
                ttls = await pipe.execute()
            async with client.pipeline(transaction=True) as pipe:
                for job_id, ttl in zip(cancelled, ttls, strict=True):
                    if ttl == -1:  # no TTL yet
                        pipe.expire(_job(job_id), failure_ttl_s)
                    pipe.zrem(keys.cancelled(name), job_id)
                await pipe.execute()
        await _forget_dead_workers(store, queues)
    except RedisError as exc:
        raise translate(exc) from exc


async def adopt_orphans(store: Store, queues: Sequence[str]) -> int:
    """Give running jobs that lost their lease to the rescuer; returns how many. See `lua/sweep_queue.lua`.

    Raises:
        StoreUnavailable: No answer from Redis; what is left waits for the next round.
    """
    found = 0
    for name in queues:
        cursor = b"0"
        while True:
            cursor, adopted = await store.run("sweep_queue", [name, cursor])
            found += adopted
            if cursor == b"0":
                break
    return found


def _job(job_id: bytes) -> bytes:
    """The key of whatever stands in a registry: anybody can write there, so it need not be text."""
    return keys.job("").encode() + job_id


async def _forget_dead_workers(store: Store, queues: Sequence[str]) -> None:
    names: set[bytes] = set(await store.client.smembers(keys.WORKERS))  # type: ignore[arg-type]
    async with store.client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.exists(name)
        alive = await pipe.execute()
    async with store.client.pipeline(transaction=False) as pipe:
        for name, is_alive in zip(names, alive, strict=True):
            if not is_alive:
                pipe.srem(keys.WORKERS, name)
                for queue in queues:
                    pipe.srem(keys.queue_workers(queue), name)
        await pipe.execute()
