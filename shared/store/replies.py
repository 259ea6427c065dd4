"""Replies of what reads: a key of another type costs its own reply, and nothing beside it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from redis.exceptions import RedisError

from shared.store.scripts import translate


async def reply_of(call: Awaitable[Any], nothing: Any) -> Any:
    """What Redis says to one command; `nothing` where something of another type stands under the key.

    Raises:
        StoreError: No answer from Redis, or another error.
    """
    try:
        return await call
    except RedisError as exc:
        if _is_wrong_type(exc):
            return nothing
        raise translate(exc) from exc


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
        if isinstance(reply, RedisError) and not _is_wrong_type(reply):
            raise translate(reply) from reply
    return replies


def _is_wrong_type(error: RedisError) -> bool:
    return str(error).startswith("WRONGTYPE")
