"""The usual call of a model: what the ledger has learned from the answers so far (`lua/lib/learning.lua`)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from shared.job import Candidate
from shared.store import keys
from shared.store.connect import Store
from shared.store.replies import reply_of
from shared.store.scopes import model_scope
from shared.store.waiting import read_number, read_object

FIRST_OUTPUT_TOKENS = 256
"""Length of an answer before a model's first one (`lua/lib/ledger.lua`, OUTPUT_GUESS)."""

LONG_OUTPUT_TOKENS = 4 * FIRST_OUTPUT_TOKENS
"""Until something is learned, an answer without a cap is taken for no longer than that."""

MOST_TOKENS = 1e9

REFRESH_S = 10.0
"""How long a figure is used before it is read again: it moves with every answer."""


class UsualCall(NamedTuple):
    """What a call to a model is usually like.

    Attributes:
        output_tokens: Length of an answer, mean.
        output_dev: Its standard deviation.
        prompt_ratio: The provider's count of a prompt's tokens, by our estimate of them.
        duration_s: Median from claim to settle; None = no call was seen.
    """

    output_tokens: float | None = None
    output_dev: float = 0.0
    prompt_ratio: float = 1.0
    duration_s: float | None = None

    def prompt(self, estimate: int) -> int:
        """Tokens of a prompt, as the provider will count them."""
        return max(1, round(estimate * self.prompt_ratio))

    def output(self, cap: int | None) -> tuple[int, int]:
        """Tokens of an answer: the usual number, and one that few answers exceed.

        Args:
            cap: `max_tokens`, which is that number where it is stated; None = no cap.
        """
        mean = FIRST_OUTPUT_TOKENS if self.output_tokens is None else round(self.output_tokens)
        if cap:
            return min(mean, cap), cap
        if self.output_tokens is None:
            return mean, LONG_OUTPUT_TOKENS
        return max(1, mean), max(1, round(self.output_tokens + 2 * self.output_dev))


class UsualCalls:
    """Reads what is usual, and keeps it for a moment.

    Args:
        accounts: Provider → account.
    """

    def __init__(self, store: Store, accounts: Mapping[str, str]) -> None:
        self._store = store
        self._accounts = accounts
        self._kept: dict[Candidate, tuple[float, UsualCall]] = {}

    async def of(self, candidate: Candidate) -> UsualCall:
        """What is usual for a model at its provider.

        Raises:
            StoreError: No answer from Redis.
        """
        read_at, usual = self._kept.get(candidate, (-REFRESH_S, UsualCall()))
        now = time.monotonic()
        if now - read_at >= REFRESH_S:
            account = self._accounts.get(candidate.provider, candidate.provider)
            key = keys.scope(model_scope(account, candidate.model))
            usual = _usual(read_object(await reply_of(self._store.client.get(key), None)))
            self._kept[candidate] = (now, usual)
        return usual


def _usual(state: dict[str, object]) -> UsualCall:
    """Of a scope's state; anybody can write to Redis."""

    def number(name: str, most: float) -> float | None:
        value = read_number(state.get(name))
        return value if value is not None and 0 <= value <= most else None

    duration_ms = number("usual_ms", 1e9)
    return UsualCall(
        number("output_mean", MOST_TOKENS),
        number("output_dev", MOST_TOKENS) or 0.0,
        number("prompt_ratio", 100) or 1.0,
        duration_ms / 1000 if duration_ms else None,
    )
