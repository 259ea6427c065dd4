"""What serves the calls of one API process: made at its start, shared by all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from producer.api.call_metrics import CallMetrics, FleetReader
from producer.api.spend import Spend
from producer.api.submits import Submits
from producer.client import Producer
from producer.files.blobs import Blobs, open_blobs
from producer.responses.book import ResponseBook
from producer.responses.keeper import ResponseKeeper
from shared.background import end_tasks
from shared.catalogue import Catalogue
from shared.providers import ProviderRegistry
from shared.settings import Settings
from shared.store.batches import BatchStore
from shared.store.connect import Store
from shared.store.files import FileStore
from shared.store.responses import ResponseStore


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with."""

    settings: Settings
    registry: ProviderRegistry
    catalogue: Catalogue
    producer: Producer
    store: Store
    submits: Submits
    spend: Spend
    metrics: CallMetrics
    fleet: FleetReader
    blobs: Blobs
    files: FileStore
    batches: BatchStore
    responses: ResponseBook


@asynccontextmanager
async def open_services(
    settings: Settings, registry: ProviderRegistry, metrics: CallMetrics
) -> AsyncIterator[Services]:
    """Connect, and start what runs beside the calls.

    Raises:
        StoreUnavailable, StoreUnsuitable, ConfigError: As `Producer.open`.
    """
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(Producer.open(settings, registry=registry))
        submits = Submits(producer)
        stack.push_async_callback(submits.stop)
        catalogue = Catalogue.from_settings(settings)
        store = producer.store
        responses = ResponseStore(store)
        keeper = ResponseKeeper(responses, producer)
        stack.push_async_callback(end_tasks, *keeper.start())
        yield Services(
            settings,
            registry,
            catalogue,
            producer,
            store,
            submits,
            Spend(store, settings),
            metrics,
            FleetReader(store, registry.registered),
            open_blobs(settings),
            FileStore(store),
            BatchStore(store),
            ResponseBook(responses, producer, keep=keeper.keep),
        )
