"""The purse: what a batch may spend of its client's day."""

from __future__ import annotations

from decimal import Decimal

from producer.batch.budget import Budget, ClientBudget
from producer.batch.estimate import Estimator
from producer.batch.line_cost import LineCost
from producer.batch.spending import Funds
from shared.settings import Settings
from shared.store.batch_record import Batch
from shared.store.connect import Store
from shared.store.costs import ClientSpend


class Purse:
    """Hands out funds. Batches of one client that run at the same time see each other's cost after some seconds."""

    def __init__(self, store: Store, settings: Settings, estimator: Estimator) -> None:
        self._store = store
        self._settings = settings
        self._estimator = estimator

    async def open(self, batch: Batch) -> Funds | None:
        """What a batch may spend; None where nothing limits it.

        Raises:
            StoreError: No answer from Redis.
        """
        usd = self._usd(batch)
        if usd is None:
            return None
        client = ClientBudget(batch.client, Decimal(str(usd)), ClientSpend(self._store, batch.client).refresh)
        budget = Budget(max_cost_usd=None, spent=LineCost(batch.progress.cost_usd), client=client)
        await budget.look_at_client()
        return Funds(budget, self._estimator)

    def _usd(self, batch: Batch) -> float | None:
        """The smaller one of the token's and the client's budget."""
        client = self._settings.clients.get(batch.client)
        stated = (batch.spec.budget_usd, client.budget_usd if client is not None else None)
        return min((usd for usd in stated if usd is not None), default=None)
