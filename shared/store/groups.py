"""Model groups made at run time: kept in Redis beside a version that tells everybody when to read them again."""

from __future__ import annotations

import logging

from pydantic import ValidationError
from redis.exceptions import RedisError

from shared.settings import GroupSettings
from shared.store import keys
from shared.store.connect import Store
from shared.store.scripts import translate

log = logging.getLogger(__name__)

MAX_GROUP_BYTES = 64 * 1024
"""Longest definition that is read; anybody can write to Redis."""


class GroupStore:
    """Access to run-time groups. All calls are safe to repeat; the last writer of a group wins."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def version(self) -> int:
        """A number that grows with each change; 0 = there has been none.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        try:
            return _number(await self._store.client.get(keys.GROUPS_VERSION))
        except RedisError as exc:
            raise translate(exc) from exc

    async def read(self) -> tuple[int, dict[str, GroupSettings]]:
        """The version, and the groups of it by id; what is no valid group is left out, and logged.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        try:
            async with self._store.client.pipeline(transaction=True) as pipe:
                pipe.get(keys.GROUPS_VERSION)
                pipe.hgetall(keys.GROUPS)
                version, raw = await pipe.execute()
        except RedisError as exc:
            raise translate(exc) from exc
        groups = {
            name.decode(errors="replace"): group
            for name, text in raw.items()
            if (group := _group(name, text)) is not None
        }
        return _number(version), groups

    async def set(self, group_id: str, group: GroupSettings) -> int:
        """Create or replace a group. Returns the new version.

        Raises:
            StoreUnavailable: No answer from Redis; set it again.
        """
        return await self._change("hset", group_id, group.model_dump_json(exclude_defaults=True))

    async def delete(self, group_id: str) -> int:
        """Delete a group; one that is not there is fine. Returns the new version.

        Raises:
            StoreUnavailable: No answer from Redis; delete it again.
        """
        return await self._change("hdel", group_id)

    async def _change(self, command: str, *words: str) -> int:
        try:
            async with self._store.client.pipeline(transaction=True) as pipe:
                getattr(pipe, command)(keys.GROUPS, *words)
                pipe.incr(keys.GROUPS_VERSION)
                _, version = await pipe.execute()
        except RedisError as exc:
            raise translate(exc) from exc
        return _number(version)


def _group(name: bytes, text: bytes) -> GroupSettings | None:
    shown = name.decode(errors="replace")
    if len(text) > MAX_GROUP_BYTES:
        log.warning("group %r in Redis is %d bytes long and is not read", shown, len(text))
        return None
    try:
        return GroupSettings.model_validate_json(text)
    except ValidationError as exc:
        log.warning("group %r in Redis is not valid: %s", shown, exc.errors(include_input=False)[0]["msg"])
        return None


def _number(raw: bytes | str | int | None) -> int:
    return int(raw) if raw is not None else 0
