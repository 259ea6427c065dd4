"""The listing of a client's jobs, in the order in which they were accepted.

A job enters with its submit (`Submission.is_listed`, `lua/enqueue_jobs.lua`) and stays as long as its hash: the
janitor drops what is gone, readers leave it out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from redis.exceptions import RedisError, ResponseError

from shared.job import JobState
from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.scripts import translate
from shared.store.waiting import read_object

Order = Literal["asc", "desc"]
"""Oldest first, or newest first."""

CHUNK = 500
"""Jobs looked at in one round trip: 5 ms of this process."""

PAGES = 20
"""Pages of 500 jobs that one round of the sweeper looks at in a listing: 0.3 ms of Redis each. At a round a minute
that is more jobs than end."""


class Listed(NamedTuple):
    """What a listing can be searched by."""

    state: JobState
    metadata: dict[str, Any]


class Found(NamedTuple):
    """A part of a listing.

    Attributes:
        ids: Of the jobs that fit.
        last: The job to go on behind; None when nothing was looked at.
        has_more: There are jobs behind it.
    """

    ids: list[str]
    last: str | None
    has_more: bool


class Listings:
    """Reads listings."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ids(self, client: str, *, after: str | None, limit: int, order: Order) -> list[str] | None:
        """Ids of a client's jobs; some of them may be gone.

        Args:
            after: Begin behind this job; None = at the beginning.
            limit: Most ids.

        Returns:
            None when `after` is not in the listing.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        listing, redis = keys.listing(client), self._store.client
        try:
            at: float | None = None
            if after is not None and (at := await redis.zscore(listing, after)) is None:
                return None
            begin = f"({at!r}" if at is not None else "-inf" if order == "asc" else "+inf"
            if order == "asc":
                found = await redis.zrangebyscore(listing, begin, "+inf", start=0, num=limit)
            else:
                found = await redis.zrevrangebyscore(listing, begin, "-inf", start=0, num=limit)
        except RedisError as exc:
            raise translate(exc) from exc
        return [bytes(job_id).decode(errors="replace") for job_id in found]  # type: ignore[arg-type]  # no scores

    async def find(
        self,
        client: str,
        fits: Callable[[Listed], bool],
        *,
        after: str | None,
        limit: int,
        order: Order,
        most: int = 10_000,
    ) -> Found | None:
        """Jobs of a client's that fit and are there.

        Args:
            after: As `ids`.
            limit: Most jobs found.
            most: Jobs looked at; what comes after is for the next call.

        Returns:
            None when `after` is not in the listing.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        found: list[str] = []
        last = after
        for _ in range(0, most, CHUNK):
            ids = await self.ids(client, after=last, limit=CHUNK, order=order)
            if ids is None:
                return None if last == after else Found(found, last, False)  # the sweeper was faster
            for place, listed in enumerate(await self._read(ids)):
                if len(found) == limit:
                    return Found(found, last, True)
                last = ids[place]
                if listed is not None and fits(listed):
                    found.append(last)
            if len(ids) < CHUNK:
                return Found(found, last, False)
        return Found(found, last, True)

    async def _read(self, job_ids: list[str]) -> list[Listed | None]:
        try:
            async with self._store.client.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hmget(keys.job(job_id), "status", "cq_state", "cq_info")
                replies = await pipe.execute(raise_on_error=False)
        except RedisError as exc:
            raise translate(exc) from exc
        return [_listed(reply) for reply in replies]


def _listed(reply: Any) -> Listed | None:
    """None for a job that is gone, or whose key is something else."""
    if isinstance(reply, ResponseError) or reply[0] is None:
        return None
    status, fine, info = reply
    metadata = read_object(info).get("metadata")
    return Listed(rq_layout.state_of(status, fine), metadata if isinstance(metadata, dict) else {})


class ListingSweeper:
    """Drops jobs that are gone from the listings, a part of a long one at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cursors: dict[str, bytes] = {}

    async def sweep(self) -> int:
        """Go on where the last call stopped; returns how many entries were dropped.

        Raises:
            StoreUnavailable: No answer from Redis; what is left waits for the next round.
        """
        try:
            clients: set[bytes] = set(await self._store.client.smembers(keys.LISTINGS))  # type: ignore[arg-type]
        except RedisError as exc:
            raise translate(exc) from exc
        return sum([await self._sweep_one(client.decode(errors="replace")) for client in clients])

    async def _sweep_one(self, client: str) -> int:
        dropped = 0
        cursor = self._cursors.pop(client, b"0")
        for _ in range(PAGES):
            cursor, gone = await self._store.run("sweep_listing", [client, cursor])
            dropped += int(gone)
            if cursor == b"0":
                return dropped
        self._cursors[client] = cursor
        return dropped
