"""Spend: what clients have spent today, against what they may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from decimal import Decimal

from producer.api.errors import FINAL, ApiError
from producer.api.principal import Principal
from shared.settings import Settings
from shared.store.connect import Store
from shared.store.costs import DaySpend

KEPT_S = 1.0
"""How long what was read is good for; what is in flight is not counted either."""


class Spend:
    """Refuses clients whose budget of the day is spent. Nothing is read while no caller has one."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._spend = DaySpend(store)
        self._clients = settings.clients
        self._read_at = -KEPT_S
        self._spent: Mapping[str, Decimal] = {}
        self._reading = asyncio.Lock()

    async def check(self, principal: Principal) -> None:
        """See that the client has money left, by its token and by `[clients.<id>] budget_usd`.

        Raises:
            ApiError: 429; it has not. Asking again does not help before midnight UTC.
            StoreError: No answer from Redis.
        """
        budget_usd = self._budget_usd(principal)
        if budget_usd is None:
            return
        async with self._reading:
            if time.monotonic() - self._read_at >= KEPT_S:
                self._spent = await self._spend.refresh()
                self._read_at = time.monotonic()
        if self._spent.get(principal.client, Decimal(0)) >= Decimal(str(budget_usd)):
            raise ApiError(
                429,
                f"the budget of client {principal.client}, {budget_usd:g} USD a day (UTC), is spent",
                kind="insufficient_quota",
                code="insufficient_quota",
                headers=FINAL,
            )

    def _budget_usd(self, principal: Principal) -> float | None:
        """The smaller of the two; None = no budget."""
        client = self._clients.get(principal.client)
        stated = (principal.budget_usd, client.budget_usd if client is not None else None)
        return min((usd for usd in stated if usd is not None), default=None)
