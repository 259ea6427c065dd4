"""Access tokens in Redis: one hash, by public id. Nobody can make a token of what stands there."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from shared.access_token import AccessToken
from shared.errors import ChatqError
from shared.store import keys
from shared.store.connect import Store
from shared.store.replies import replies_of, reply_of

log = logging.getLogger(__name__)

MAX_TOKENS = 10_000
"""A list of so many is 4 MB; who needs more wants another kind of key store."""

MAX_RECORD_BYTES = 65_536
"""Longest record that is read; anybody can write to Redis."""


class TokenNotFound(ChatqError):
    """No token of this id: it never existed, or was revoked."""

    code = "token_not_found"
    exit_code = 4


class TooManyTokens(ChatqError):
    """There are `MAX_TOKENS`: revoke some."""

    code = "too_many_tokens"


class TokenStore:
    """Access to tokens. Looking is safe to repeat; so is revoking."""

    def __init__(self, store: Store) -> None:
        self._client = store.client

    async def add(self, token: AccessToken) -> None:
        """Keep a token; from now on it is known.

        A lost reply leaves a token that nobody holds: it stands in the list and can be revoked.

        Raises:
            TooManyTokens: There are enough.
            StoreError: No answer from Redis.
        """
        if int(await reply_of(self._client.hlen(keys.TOKENS), 0)) >= MAX_TOKENS:
            raise TooManyTokens(f"there are {MAX_TOKENS:,} tokens: revoke some (`chatq tokens list`)")
        record = token.model_dump_json(exclude_defaults=True)
        await reply_of(self._client.hset(keys.TOKENS, token.id, record), None)

    async def find(self, token_id: str) -> tuple[AccessToken | None, bool]:
        """The token of this id, and whether there are tokens at all, in one round trip.

        What stands there and is no token lets nobody in, but counts: somebody wanted tokens to be asked for.

        Raises:
            StoreError: No answer from Redis.
        """
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.hget(keys.TOKENS, token_id)
            pipe.exists(keys.TOKENS)
            record, exists = await replies_of(pipe)
        return _read(token_id, record), bool(exists)

    async def exist(self) -> bool:
        """Whether there are tokens, expired ones included.

        Raises:
            StoreError: No answer from Redis.
        """
        return bool(await reply_of(self._client.exists(keys.TOKENS), 1))

    async def all(self) -> list[AccessToken]:
        """All tokens, the oldest first; what cannot be read is left out, and logged.

        Raises:
            StoreError: No answer from Redis.
        """
        records = await reply_of(self._client.hgetall(keys.TOKENS), {})
        found = (_read(token_id.decode(errors="replace"), record) for token_id, record in records.items())
        return sorted((token for token in found if token), key=lambda token: (token.created_at, token.id))

    async def revoke(self, token_id: str) -> None:
        """Forget a token: within 2 s nobody gets in with it.

        Raises:
            TokenNotFound: There is none of this id; also when a lost reply made somebody ask again.
            StoreError: No answer from Redis; revoke it again.
        """
        if not await reply_of(self._client.hdel(keys.TOKENS, token_id), 0):
            raise TokenNotFound(f"no token {token_id!r}: see `chatq tokens list`")


def _read(token_id: str, record: object) -> AccessToken | None:
    if not isinstance(record, bytes):
        return None
    if len(record) <= MAX_RECORD_BYTES:
        try:
            token = AccessToken.model_validate_json(record)
        except ValidationError:
            token = None
        if token is not None and token.id == token_id:
            return token
    log.warning("what stands in Redis as token %r is none: revoke it", token_id)
    return None
