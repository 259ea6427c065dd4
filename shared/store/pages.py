"""Pages of what a client owns: ids in a sorted set by age, each with a record under a key of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from shared.store.connect import Store
from shared.store.replies import reply_of

LOOK = 200
"""Records read at a time."""

GONE_MS = 3_600_000
"""So long after it was made, an id without a record leaves the listing; until then it is a place to go on from."""

T = TypeVar("T")


class Page(NamedTuple, Generic[T]):
    """Some of a listing, and whether there are more."""

    entries: list[T]
    has_more: bool


async def read_page(
    store: Store,
    key: str,
    read: Callable[[Sequence[str]], Awaitable[list[T | None]]],
    *,
    after: str | None,
    limit: int,
    is_newest_first: bool = True,
    is_wanted: Callable[[T], bool] = lambda _: True,
) -> Page[T] | None:
    """Read a page; records that are gone are left out, and dropped from the listing when they are old.

    Args:
        key: The sorted set: ids with the time they were made, Unix ms.
        read: Records by id, None for those that are gone.
        after: Go on behind this id; None = from the beginning.

    Returns:
        None when `after` is not in the listing.

    Raises:
        StoreError: No answer from Redis.
    """
    at = 0
    if after is not None:
        rank = store.client.zrevrank if is_newest_first else store.client.zrank
        found = await reply_of(rank(key, after), None)
        if found is None:
            return None
        at = found + 1
    entries: list[T] = []
    gone: list[str] = []
    while len(entries) <= limit:
        ids = await _ids(store, key, at, is_newest_first)
        if not ids:
            break
        at += len(ids)
        for object_id, record in zip(ids, await read(ids), strict=True):
            if record is None:
                gone.append(object_id)
            elif is_wanted(record):
                entries.append(record)
    await _drop(store, key, gone)
    return Page(entries[:limit], len(entries) > limit)


async def _ids(store: Store, key: str, at: int, is_newest_first: bool) -> list[str]:
    found = await reply_of(store.client.zrange(key, at, at + LOOK - 1, desc=is_newest_first), [])
    return [one.decode(errors="replace") for one in found]


async def _drop(store: Store, key: str, gone: list[str]) -> None:
    if not gone:
        return
    seconds, _ = await reply_of(store.client.time(), (0, 0))
    made_at = await reply_of(store.client.zmscore(key, gone), [])
    old = [
        one
        for one, ms in zip(gone, made_at, strict=False)
        if ms is not None and ms < seconds * 1000 - GONE_MS
    ]
    if old:
        await reply_of(store.client.zrem(key, *old), 0)
