"""Responses (`/v1/responses`): what was asked, and the outcome, for as long as a caller may look at them.

A response's job lives for the time that jobs do; the response may have to live for longer. So its outcome is
copied here when somebody first sees that its job has ended: the caller that waits or looks, else a keeper, to
whom `due` hands out those without an outcome.
"""

from __future__ import annotations

import enum
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import RedisError

from shared.store import keys
from shared.store.connect import Store
from shared.store.scripts import translate

log = logging.getLogger(__name__)

STORED_TTL_S = 30 * 86_400
"""How long a response is kept after its end, and unfinished ones from look to look: what OpenAI promises."""

UNSTORED_TTL_S = 3600
"""How long one with `store: false` can be read after its end: polling must work for it, too."""

FIRST_LOOK_S = 60.0
"""When a keeper first looks for the outcome, and how often from then on."""

MAX_FIELD_BYTES = 256 * 1024 * 1024
"""Largest field that is read: the most that the settings allow an answer. Anybody can write to Redis."""


class Taken(enum.IntEnum):
    """What the store made of a response that was to be taken down."""

    NEW = 1
    KNOWN = 0
    """The same one is there already."""
    CONFLICT = -1
    """One that was asked for otherwise is there."""
    DELETED = -2
    """It was there, and was deleted."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it was asked for, and its outcome.

    Attributes:
        created_at: When it was accepted, Unix seconds.
        asked: What the Response object repeats of its request; `background` and `store` stand there, too.
        stream: Whether its job writes deltas.
        outcome: The Response object it ended as; None = not known here.
    """

    id: str
    client: str
    created_at: float
    asked: Mapping[str, Any]
    stream: bool
    outcome: Mapping[str, Any] | None = None

    @property
    def ttl_s(self) -> int:
        """How long it is kept after its end, in seconds."""
        return STORED_TTL_S if self.asked.get("store") is not False else UNSTORED_TTL_S


class ResponseStore:
    """Access to responses. All calls are safe to repeat; they raise StoreUnavailable if Redis does not answer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accept(self, response: StoredResponse, *, items: list[dict[str, Any]], digest: str) -> Taken:
        """Take a response down, once its job is in the store.

        Args:
            items: The whole conversation it answers, as `input_items` shows it.
            digest: Of the request (`request_digest`).

        Raises:
            StoreFull: Redis is at maxmemory.
        """
        head = {
            "client": response.client,
            "created_at": response.created_at,
            "asked": response.asked,
            "stream": response.stream,
        }
        args = (response.id, digest, orjson.dumps(head), orjson.dumps(items))
        first_look_ms = round(FIRST_LOOK_S * 1000)
        return Taken(await self._store.run("accept_response", [*args, STORED_TTL_S, first_look_ms]))

    async def read(self, response_id: str) -> StoredResponse | None:
        """The response; None if there is none, or if it was deleted."""
        head, outcome = await self._fields(response_id, "head", "outcome")
        match _json(head):
            case {
                "client": str(client),
                "created_at": int() | float() as created_at,
                "asked": dict(asked),
                "stream": bool(stream),
            }:
                ended = _json(outcome)
                known = ended if isinstance(ended, dict) else None
                return StoredResponse(response_id, client, created_at, asked, stream, known)
            case _:
                return None

    async def read_items(self, response_id: str) -> list[dict[str, Any]]:
        """The conversation that a response answers; empty if there is no such response."""
        (raw,) = await self._fields(response_id, "input")
        items = _json(raw)
        return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []

    async def known(self, response_id: str, digest: str) -> Taken | None:
        """What `accept` would say of this response if it is there; None if it would be new."""
        known, deleted = await self._fields(response_id, "digest", "deleted")
        if deleted is not None:
            return Taken.DELETED
        if known is None:
            return None
        return Taken.KNOWN if known == digest.encode() else Taken.CONFLICT

    async def end(self, response: StoredResponse, outcome: Mapping[str, Any]) -> None:
        """Keep the Response object that a response ended as; the first one stands."""
        await self._store.run("end_response", [response.id, orjson.dumps(outcome), response.ttl_s])

    async def delete(self, response_id: str) -> bool:
        """Delete what a response says; False if there is none."""
        return bool(await self._store.run("delete_response", [response_id]))

    async def due(self, *, most: int) -> list[str]:
        """Ids of responses without an outcome that nobody looked at for `FIRST_LOOK_S`, oldest first."""
        args = (most, round(FIRST_LOOK_S * 1000), STORED_TTL_S)
        return [raw.decode(errors="replace") for raw in await self._store.run("watch_responses", args)]

    async def set_aside(self, response_id: str) -> None:
        """Look after a response no more: its job is gone, so there will be no outcome."""
        try:
            await self._store.client.zrem(keys.RESPONSES_OPEN, response_id)
        except RedisError as exc:
            raise translate(exc) from exc

    async def _fields(self, response_id: str, *names: str) -> list[bytes | None]:
        try:
            values = await self._store.client.hmget(keys.response(response_id), list(names))
        except RedisError as exc:
            if "WRONGTYPE" in str(exc):  # a stranger's: there is no response
                return [None] * len(names)
            raise translate(exc) from exc
        return [value if isinstance(value, bytes) else None for value in values]


def request_digest(body: Mapping[str, Any]) -> str:
    """What tells two requests apart under one idempotency key; the order of fields is no difference."""
    encoded = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _json(raw: bytes | None) -> Any:
    """The value of a field; None for one that is missing, too large or no JSON."""
    if raw is None or len(raw) > MAX_FIELD_BYTES:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        log.warning("a response in Redis cannot be read")
        return None
