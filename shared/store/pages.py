"""Pages of what a client owns: ids in a sorted set by age, each with a record under a key of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from shared.store.connect import Store
from shared.store.replies import reply_of

LOOK = 200
"""Records read at a time."""

GONE_US = 3_600_000_000
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
        key: The sorted set: ids with the time they were made, Unix µs; no two have the same.
        read: Records by id, None for those that are gone.
        after: Go on behind this id; None = from the beginning.

    Returns:
        None when `after` is not in the listing.

    Raises:
        StoreError: No answer from Redis.
    """
    at: float | None = None
    if after is not None and (at := await reply_of(store.client.zscore(key, after), None)) is None:
        return None
    entries: list[T] = []
    gone: dict[str, float] = {}
    while len(entries) <= limit:
        placed = await _behind(store, key, at, is_newest_first)
        if not placed:
            break
        at = placed[-1][1]
        records = await read([object_id for object_id, _ in placed])
        gone.update(one for one, record in zip(placed, records, strict=True) if record is None)
        entries += [record for record in records if record is not None and is_wanted(record)]
    await _drop(store, key, gone)
    return Page(entries[:limit], len(entries) > limit)


async def _behind(store: Store, key: str, at: float | None, is_newest_first: bool) -> list[tuple[str, float]]:
    """What comes next, by time and not by rank: others add and drop entries meanwhile."""
    first, last = ("+inf", "-inf") if is_newest_first else ("-inf", "+inf")
    begin: Any = first if at is None else f"({at!r}"  # redis-py's types know no bounds that are left out
    end: Any = last
    found = await reply_of(
        store.client.zrange(
            key, begin, end, desc=is_newest_first, byscore=True, withscores=True, offset=0, num=LOOK
        ),
        [],
    )
    return [(one.decode(errors="replace"), made_at) for one, made_at in found]


async def _drop(store: Store, key: str, gone: Mapping[str, float]) -> None:
    if not gone:
        return
    seconds, _ = await reply_of(store.client.time(), (0, 0))
    old = [one for one, made_at in gone.items() if made_at < seconds * 1_000_000 - GONE_US]
    if old:
        await reply_of(store.client.zrem(key, *old), 0)
