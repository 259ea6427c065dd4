"""Dead letters: jobs that ended without an answer, kept with their error until their TTL is over.

They stand in RQ's failed registries: state `failed` or `expired`, score = end of the TTL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import RedisError

from shared.job import Candidate, Job, JobState, Lane
from shared.store import keys
from shared.store.connect import Store
from shared.store.jobs import Cost
from shared.store.reading import read_candidates, read_jobs
from shared.store.replies import replies_of, reply_of
from shared.store.scripts import Arg, translate
from shared.store.waiting import read_object

PAGE = 200
"""Jobs read or replayed at a time."""

DEAD_STATES = (JobState.FAILED, JobState.EXPIRED)


@dataclass(frozen=True, slots=True)
class _Replay:
    """How a dead letter goes on."""

    queue: str
    info: bytes
    cost: str
    route: bytes

    def words(self, job_id: str) -> tuple[Arg, ...]:
        """As `replay_jobs` reads it."""
        return job_id, self.queue, self.info, self.cost, self.route


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
            jobs = await read_jobs(self._store.client, job_ids)
        except RedisError as exc:
            raise translate(exc) from exc
        return [job for job in jobs if job is not None and job.state in DEAD_STATES and job.queue]

    async def replay(
        self, jobs: Sequence[Job], *, model: str | None = None, candidates: Sequence[Candidate] = ()
    ) -> list[str]:
        """Give dead letters another life; returns the ids of those that are queued again.

        Args:
            model: The name that they are asked for with from now on; None = as before.
            candidates: What `model` leads to.

        Raises:
            StoreFull: Redis is at maxmemory; those of earlier pages are queued.
            StoreUnavailable: Unknown outcome; replay them again.
        """
        replayed: list[str] = []
        for start in range(0, len(jobs), PAGE):
            page = jobs[start : start + PAGE]
            args: list[Arg] = []
            for job, (info, cost) in zip(page, await self._stored(page), strict=True):
                args += _replay(job, info, cost, model, candidates).words(job.id)
            codes = await self._store.run("replay_jobs", args)
            replayed += [job.id for job, code in zip(page, codes, strict=True) if code]
        return replayed

    async def _stored(self, jobs: Sequence[Job]) -> list[tuple[bytes, bytes]]:
        """What stands of each in Redis: chatq's information, and what it asks of limits."""
        async with self._store.client.pipeline(transaction=False) as pipe:
            for job in jobs:
                pipe.hmget(keys.job(job.id), "cq_info", "cq_cost")
            replies = await replies_of(pipe)
        found = [reply if isinstance(reply, list) else (None, None) for reply in replies]
        return [(info or b"", cost or b"") for info, cost in found]


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


def _replay(
    job: Job, info: bytes, cost: bytes, model: str | None, candidates: Sequence[Candidate]
) -> _Replay:
    fields = read_object(info)
    if model is not None:
        fields |= {"model": model, "candidates": [(one.provider, one.model) for one in candidates]}
        info = orjson.dumps(fields)
    route = candidates if model is not None else read_candidates(fields)
    if not route:  # enqueued with plain RQ: it is routed when it is claimed
        return _Replay(job.queue, info, _text(cost), b"")
    pairs = [(one.provider, one.model) for one in route]
    return _Replay(
        queue=f"{route[0].provider}.{_lane(job)}",
        info=info,
        cost=_cost(cost, fields, route[0]).encode(),
        route=orjson.dumps(pairs) if len(pairs) > 1 else b"",
    )


def _lane(job: Job) -> str:
    return job.lane if job.lane in tuple(Lane) else Lane.DEFAULT.value


def _cost(stored: bytes, info: dict[str, Any], candidate: Candidate) -> Cost:
    """The same demand on another candidate; nothing where what is stored cannot be read."""
    head = _text(stored).partition("\n")[0].split(" ", 3)
    prompt, output, payload = (
        [int(n) for n in head[:3]] if len(head) == 4 and all(n.isdecimal() for n in head[:3]) else [0] * 3
    )
    client = head[3] if len(head) == 4 else str(info.get("client") or "default")
    return Cost(prompt, output, payload, client, candidate.model)


def _text(raw: Any) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
