"""Ratings of messages, kept for as long as their group says, so that identical ones are rated once."""

from __future__ import annotations

from redis.exceptions import RedisError

from shared.store import keys
from shared.store.connect import Store
from shared.store.scripts import translate

MAX_RATING = 1000
"""More than any scale has; anybody can write to Redis."""


class RatingStore:
    """Access to kept ratings, by digests of what was rated (`shared.routing.rating_key`); messages stay outside."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, digest: str) -> int | None:
        """The rating, if it is kept.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        try:
            raw = await self._store.client.get(keys.rating(digest))
        except RedisError as exc:
            raise translate(exc) from exc
        is_rating = raw is not None and raw.isdigit() and len(raw) < 5
        return int(raw) if raw is not None and is_rating and int(raw) <= MAX_RATING else None

    async def put(self, digest: str, rating: int, *, keep_s: float) -> None:
        """Keep a rating for so many seconds.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        try:
            await self._store.client.set(keys.rating(digest), rating, px=max(1, round(keep_s * 1000)))
        except RedisError as exc:
            raise translate(exc) from exc
