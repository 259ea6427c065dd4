"""Known tokens: what Redis says of the tokens that calls come with, remembered for a second."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from shared.access_token import AccessToken, digest_of, id_of, looks_like_token
from shared.store.tokens import TokenStore

KEPT_S = 1.0
"""How long an answer of Redis is good for: a revoked token stops acting within 2 s."""

MOST = 5000
"""Answers kept, good and bad; the oldest go first. 1 MB."""

_NO_TOKEN = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Redis says.

    Attributes:
        token: The one that was asked for, if it is known and its time is not over.
        has_tokens: Whether there are any, so that one is needed.
    """

    token: AccessToken | None
    has_tokens: bool


class KnownTokens:
    """Looks tokens up; many calls with one token at a time cost Redis one look a second.

    Answers are kept by the digest of what was given: this process, too, holds no token for longer than a call.
    """

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._kept: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._looking: dict[str, asyncio.Task[Answer]] = {}

    async def ask(self, given: str) -> Answer:
        """What is known of what a caller gave; empty = nothing was given.

        Raises:
            StoreError: No answer from Redis.
        """
        token = given if looks_like_token(given) else _NO_TOKEN
        name = digest_of(token)
        at, answer = self._kept.get(name, (0.0, None))
        if answer is None or time.monotonic() - at >= KEPT_S:
            answer = await self._look(name, token)
        if answer.token is not None and answer.token.is_expired():
            return Answer(None, answer.has_tokens)
        return answer

    async def _look(self, name: str, token: str) -> Answer:
        task = self._looking.get(name)
        if task is None:
            task = asyncio.create_task(self._find(name, token), name="token-look")
            self._looking[name] = task
            task.add_done_callback(lambda ended: self._looked(name, ended))
        # Shielded: others wait for the same look.
        return await asyncio.shield(task)

    def _looked(self, name: str, ended: asyncio.Task[Answer]) -> None:
        del self._looking[name]
        if not ended.cancelled():
            ended.exception()  # who waited for it has it; if all have gone, nobody misses it

    async def _find(self, name: str, token: str) -> Answer:
        looked_at = time.monotonic()
        found, has_tokens = await self._store.find(id_of(token))
        is_it = found is not None and found.is_made_of(token)
        answer = Answer(found if is_it else None, has_tokens)
        self._kept[name] = looked_at, answer
        self._kept.move_to_end(name)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return answer
