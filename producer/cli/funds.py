"""The money of a `chatq run`: its own limit, and the budget of its client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

from producer.batch.budget import Budget, ClientBudget
from producer.batch.estimate import Estimator
from producer.batch.line_cost import LineCost
from producer.batch.pricing import estimator_on
from producer.batch.spending import Funds
from producer.cli.context import CliContext
from producer.cli.run_options import Options
from producer.cli.session import warn
from shared.group_follower import GroupFollower
from shared.store.connect import Store
from shared.store.costs import ClientSpend
from shared.store.groups import GroupStore


@asynccontextmanager
async def open_funds(
    context: CliContext, options: Options, redis_url: str, spent: LineCost
) -> AsyncIterator[Funds | None]:
    """What a run may spend; None where nothing limits it.

    Args:
        redis_url: The store of the run.
        spent: What its lines have cost before.

    Raises:
        StoreError: Redis cannot be reached.
    """
    budget_usd = _budget_of_client(context, options)
    if options.max_cost_usd is None and budget_usd is None:
        yield None
        return
    store = await Store.open(redis_url, context.settings.redis)
    try:
        client = None
        if budget_usd is not None:
            client = ClientBudget(options.client, budget_usd, ClientSpend(store, options.client).refresh)
            if not context.settings.telemetry.enabled:
                warn("telemetry is off: what others spend for this client is not seen")
        budget = Budget(max_cost_usd=options.max_cost_usd, spent=spent, client=client)
        yield Funds(budget, await make_estimator(context, store))
    finally:
        await store.close()


async def make_estimator(context: CliContext, store: Store) -> Estimator:
    """An estimator with the prices of the catalogue, and the groups, sizes and facts of this store.

    Raises:
        StoreError: No answer from Redis.
    """
    await GroupFollower(GroupStore(store), context.router).catch_up()
    return estimator_on(store, context.settings, context.registry, context.router)


def _budget_of_client(context: CliContext, options: Options) -> Decimal | None:
    if options.budget_usd is not None:
        return options.budget_usd
    stated = context.settings.clients.get(options.client)
    if stated is None or stated.budget_usd is None:
        return None
    return Decimal(str(stated.budget_usd))
