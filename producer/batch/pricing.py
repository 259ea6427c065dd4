"""Pricing: an estimator with the catalogue's prices, and what this store knows of sizes, groups and the fleet."""

from __future__ import annotations

from producer.batch.estimate import Estimator
from shared.catalogue import Catalogue
from shared.live_facts import LiveFacts
from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import Settings
from shared.store.connect import Store
from shared.store.usual import UsualCalls


def estimator_on(store: Store, settings: Settings, registry: ProviderRegistry, router: Router) -> Estimator:
    """An estimator on a store; the router's groups are those that it follows."""
    catalogue = Catalogue.from_settings(settings)
    usual = UsualCalls(store, {name: one.account for name, one in registry.registered.items()})
    facts = LiveFacts(store, catalogue, closed_s=settings.routing.failover_after_s)
    return Estimator(catalogue, router, settings.jobs, usual.of, facts=facts)
