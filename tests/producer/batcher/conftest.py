"""A batcher in the test's own loop, on the test's Redis, and what its batches are made and read with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from producer.batcher.session import BatcherClient
from producer.files.blobs import open_blobs
from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import Settings
from shared.store.connect import Store

from .desk import Desk, QuickClient, running_batcher


@pytest.fixture
def desk(store: Store, settings: Settings) -> Desk:
    return Desk(store, open_blobs(settings))


@pytest.fixture
def client(settings: Settings, registry: ProviderRegistry) -> QuickClient:
    return QuickClient(settings, Router.from_settings(settings, registry))


RunBatcher = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def run_batcher(settings: Settings, desk: Desk, client: QuickClient) -> RunBatcher:
    """Runs a batcher as long as a block lasts, for a producer in memory or a real one."""

    def run(producer: BatcherClient = client) -> AbstractAsyncContextManager[None]:
        return running_batcher(desk, settings, producer)

    return run


@pytest.fixture
async def batcher(run_batcher: RunBatcher) -> AsyncIterator[None]:
    async with run_batcher():
        yield
