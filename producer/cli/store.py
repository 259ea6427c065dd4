"""The store for commands that only look: no producer, no warnings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from producer.cli.context import CliContext
from shared.store.connect import Store
from shared.store.embedded import EmbeddedServer


@asynccontextmanager
async def open_store(context: CliContext) -> AsyncIterator[Store]:
    """The store of these settings; without a Redis URL the embedded one, started if need be.

    Raises:
        StoreUnavailable: Redis cannot be reached.
        StoreUnsuitable: The server would lose jobs.
    """
    settings = context.settings.redis
    async with AsyncExitStack() as stack:
        url = settings.url
        if not url:
            server = await asyncio.to_thread(EmbeddedServer, settings.data_dir)
            stack.push_async_callback(asyncio.to_thread, server.release)
            url = server.url
        store = await Store.open(url, settings)
        stack.push_async_callback(store.close)
        yield store
