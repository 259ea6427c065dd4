"""Dead letters: jobs that ended without an answer, kept with their error until their TTL is over.

They stand in RQ's failed registries: state `failed` or `expired`, score = end of the TTL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import orjson
from redis.exceptions import RedisError

from shared.job import Job, JobState
from shared.store import keys
from shared.store.connect import Store
from shared.store.jobs import Cost
from shared.store.pipe import Arg
from shared.store.reading import read_jobs
from shared.store.replies import replies_of, reply_of
from shared.store.scripts import translate
from shared.store.waiting import read_object

PAGE = 200
"""Jobs read or replayed at a time."""

OPENED = 20
"""Jobs whose requests are read at a time: each may have megabytes."""

DEAD_STATES = (JobState.FAILED, JobState.EXPIRED)


class Letter(NamedTuple):
    """A dead letter as it stands in Redis. What others wrote there is untrusted."""

    job: Job
    call: bytes
    """RQ's serialized call, with the request in it (`rq_layout.decode_call`)."""
    record: dict[str, Any]
    """What stands beside the request (`cq_info`); empty where that is no object."""


class Replay(NamedTuple):
    """How a dead letter goes on: like `NewJob`, under the id it has."""

    job_id: str
    queue: str
    info_json: bytes
    cost: Cost
    candidates: Sequence[tuple[str, str] | tuple[str, str, int, int] | tuple[str, str, int, int, str]]


class DeadLetters:
    """Access to dead letters. All calls are safe to repeat."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def now(self) -> float:
        """Redis's clock, by which jobs end, in Unix seconds.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        seconds, microseconds = await reply_of(self._store.client.time(), (0, 0))
        return float(seconds) + float(microseconds) / 1e6

    async def queues(self) -> list[str]:
        """Names of all queues.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        names = await reply_of(self._store.client.smembers(keys.QUEUES), ())
        return sorted(_text(name).removeprefix("rq:queue:") for name in names)

    async def newest(self, queues: Sequence[str]) -> AsyncIterator[list[Job]]:
        """Pages of the dead letters of these queues, by the end of their TTL, which is the newest first.

        What ends or goes while the pages are read may be missed or met twice.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        heads = {queue: _Registry(self._store, queue) for queue in queues}
        while heads:
            page: list[str] = []
            while len(page) < PAGE and heads:
                for queue in [queue for queue, head in heads.items() if not await head.load()]:
                    del heads[queue]
                if heads:
                    page.append(max(heads.values(), key=lambda head: head.score).pop())
            if jobs := await self.read(page):
                yield jobs

    async def all(self, queues: Sequence[str]) -> AsyncIterator[list[Job]]:
        """Pages of all dead letters of these queues, in no order: each at least once, even while they are removed.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        client = self._store.client
        for queue in queues:
            cursor = 0
            while True:
                cursor, entries = await reply_of(
                    client.zscan(keys.failed(queue), cursor, count=PAGE), (0, [])
                )
                for start in range(0, len(entries), PAGE):
                    yield await self.read([_text(entry) for entry, _ in entries[start : start + PAGE]])
                if not cursor:
                    break

    async def read(self, job_ids: Sequence[str]) -> list[Job]:
        """Those of the jobs that are dead letters.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        try:
            jobs = await read_jobs(self._store, job_ids)
        except RedisError as exc:
            raise translate(exc) from exc
        return [job for job in jobs if job is not None and job.state in DEAD_STATES and job.queue]

    async def open(self, jobs: Sequence[Job]) -> list[Letter]:
        """What is needed to replay dead letters. Whole requests come along: ask for few at a time (`OPENED`).

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        async with self._store.client.pipeline(transaction=False) as pipe:
            for job in jobs:
                pipe.hmget(keys.job(job.id), "data", "cq_info")
            replies = await replies_of(pipe)
        found = [reply if isinstance(reply, list) else (None, None) for reply in replies]
        return [
            Letter(job, call or b"", read_object(info)) for job, (call, info) in zip(jobs, found, strict=True)
        ]

    async def replay(self, replays: Sequence[Replay]) -> list[str]:
        """Give dead letters another life; returns the ids of those that are queued again.

        Raises:
            StoreFull: Redis is at maxmemory; those of earlier pages are queued.
            StoreUnavailable: Unknown outcome; replay them again.
        """
        replayed: list[str] = []
        for start in range(0, len(replays), PAGE):
            page = replays[start : start + PAGE]
            args: list[Arg] = []
            for one in page:
                route = orjson.dumps(one.candidates) if len(one.candidates) > 1 else b""
                args += (one.job_id, one.queue, one.info_json, one.cost.encode(), route)
            codes = await self._store.run("replay_jobs", args)
            replayed += [one.job_id for one, code in zip(page, codes, strict=True) if code]
        return replayed


class _Registry:
    """One failed registry, read from the newest entry on."""

    def __init__(self, store: Store, queue: str) -> None:
        self._store = store
        self._key = keys.failed(queue)
        self._entries: list[Any] = []
        self._start = 0

    @property
    def score(self) -> float:
        return float(self._entries[-1][1])

    def pop(self) -> str:
        return _text(self._entries.pop()[0])

    async def load(self) -> bool:
        """Have an entry at hand; False at the end."""
        if self._entries:
            return True
        end = self._start + PAGE - 1
        page = self._store.client.zrange(self._key, self._start, end, desc=True, withscores=True)
        entries = await reply_of(page, [])
        self._start += PAGE
        self._entries = entries[::-1]
        return bool(entries)


def _text(raw: Any) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
