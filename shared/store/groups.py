"""Model groups made at run time: kept in Redis beside a version that tells everybody when to read them again."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Any

from pydantic import ValidationError
from redis.exceptions import RedisError, ResponseError

from shared.settings import GroupSettings
from shared.store import keys
from shared.store.connect import Store, again
from shared.store.scripts import translate

log = logging.getLogger(__name__)

MAX_GROUP_BYTES = 64 * 1024
"""Longest definition that is read; anybody can write to Redis."""


class GroupStore:
    """Access to run-time groups. All calls are safe to repeat; the last writer of a group wins."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def version(self) -> bytes:
        """A word that is another one after each change; empty = there has been none.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        try:
            return _version(await again(partial(self._store.client.get, keys.GROUPS_VERSION)))
        except ResponseError as exc:
            return _without(exc)
        except RedisError as exc:
            raise translate(exc) from exc

    async def read(self) -> tuple[bytes, dict[str, GroupSettings]]:
        """The version, and the groups of it by id; what is no valid group is left out, and logged.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        try:
            version, raw = await again(self._all)
        except ResponseError as exc:
            return _without(exc), {}
        except RedisError as exc:
            raise translate(exc) from exc
        groups = {
            name.decode(errors="replace"): group
            for name, text in raw.items()
            if (group := _group(name, text)) is not None
        }
        return _version(version), groups

    async def _all(self) -> list[Any]:
        async with self._store.client.pipeline(transaction=True) as pipe:
            pipe.get(keys.GROUPS_VERSION)
            pipe.hgetall(keys.GROUPS)
            return await pipe.execute()

    async def set(self, group_id: str, group: GroupSettings) -> None:
        """Create or replace a group.

        Raises:
            StoreUnavailable: No answer from Redis; set it again.
        """
        await self._change("hset", group_id, group.model_dump_json(exclude_defaults=True))

    async def delete(self, group_id: str) -> None:
        """Delete a group; one that is not there is fine.

        Raises:
            StoreUnavailable: No answer from Redis; delete it again.
        """
        await self._change("hdel", group_id)

    async def _change(self, command: str, *words: str) -> None:
        try:
            async with self._store.client.pipeline(transaction=True) as pipe:
                getattr(pipe, command)(keys.GROUPS, *words)
                pipe.set(keys.GROUPS_VERSION, os.urandom(8).hex())
                await pipe.execute()
        except RedisError as exc:
            raise translate(exc) from exc


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


def _version(raw: bytes | str | None) -> bytes:
    return raw.encode() if isinstance(raw, str) else raw or b""


def _without(exc: ResponseError) -> bytes:
    """No groups, where something else stands under one of the keys: names that are no groups work all the same.

    Raises:
        StoreError: It is another error.
    """
    if "WRONGTYPE" not in str(exc):
        raise translate(exc) from exc
    log.warning("what stands in Redis as groups is none: delete %s and %s", keys.GROUPS, keys.GROUPS_VERSION)
    return b"?"
