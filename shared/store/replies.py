"""Replies of a pipeline that reads: a key of another type costs its own reply, and nothing beside it."""

from __future__ import annotations

from typing import Any

from redis.exceptions import RedisError

from shared.store.scripts import translate


async def replies_of(pipe: Any) -> list[Any]:
    """Send a pipeline; what stands under a key of another type is an error among the replies.

    Args:
        pipe: An asyncio pipeline of redis-py.

    Raises:
        StoreError: No answer from Redis, or an error that concerns more than one key.
    """
    try:
        replies: list[Any] = await pipe.execute(raise_on_error=False)
    except RedisError as exc:
        raise translate(exc) from exc
    for reply in replies:
        if isinstance(reply, RedisError) and not str(reply).startswith("WRONGTYPE"):
            raise translate(reply) from reply
    return replies
