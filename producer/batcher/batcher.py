"""The batcher: takes batches that nobody works on, and works on several at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from producer.batch.pricing import estimator_on
from producer.batcher.purse import Purse
from producer.batcher.segments import LeaseLost
from producer.batcher.session import Session, Tools
from producer.batcher.sweeper import Sweeper
from producer.client import Producer
from producer.files.blobs import open_blobs
from shared.background import end_tasks
from shared.errors import FilesUnavailable, StoreError
from shared.providers import ProviderRegistry
from shared.settings import Settings
from shared.store.batches import BatchStore, Lease
from shared.store.connect import Store
from shared.store.files import FileStore

log = logging.getLogger(__name__)

POLL_S = 0.25
"""Between two looks for batches to take."""

OUTAGE_PAUSE_S = 2.0
"""Before Redis, or a batch that the file store held up, is tried again."""

FAULT_PAUSE_S = 30.0
"""Before a batch is tried again that failed for a reason which nobody foresaw."""


@asynccontextmanager
async def open_batcher(
    settings: Settings, registry: ProviderRegistry, producer: Producer
) -> AsyncIterator[Batcher]:
    """A batcher on the producer's store.

    Raises:
        ConfigError: The file store's address cannot be used.
        StoreError: Redis cannot be reached.
    """
    blobs = open_blobs(settings)
    store = producer.store
    purse = Purse(store, settings, estimator_on(store, settings, registry, producer.router))
    tools = Tools(producer, settings, blobs, FileStore(store), BatchStore(store), purse)
    batcher = Batcher(tools, store)
    sweeper = Sweeper(blobs, tools.files, tools.batches)
    sweeping = asyncio.create_task(sweeper.run(), name="sweeper")
    try:
        yield batcher
    finally:
        await end_tasks(sweeping)


class Batcher:
    """Runs batches until it is told to stop."""

    def __init__(self, tools: Tools, store: Store) -> None:
        self._tools = tools
        self._store = store
        self._sessions: dict[asyncio.Task[None], Session] = {}
        self._is_stopping = asyncio.Event()

    def stop(self) -> None:
        """Take nothing more; record what has ended, and give the batches back."""
        self._is_stopping.set()
        for session in self._sessions.values():
            session.stop()

    async def run(self) -> None:
        """Take and run batches until `stop`."""
        try:
            while not self._is_stopping.is_set():
                pause_s = POLL_S
                try:
                    while len(self._sessions) < self._tools.settings.batches.at_once and await self._take():
                        pass
                except StoreError as exc:
                    log.warning("cannot look for batches: %s", exc)
                    pause_s = OUTAGE_PAUSE_S
                await self._wait(pause_s)
        finally:
            for session in self._sessions.values():
                session.stop()
            if self._sessions:
                await asyncio.wait(self._sessions)

    async def _wait(self, pause_s: float) -> None:
        stopping = asyncio.create_task(self._is_stopping.wait())
        await asyncio.wait((stopping,), timeout=pause_s)
        stopping.cancel()

    async def _take(self) -> bool:
        """Take one batch, if there is one."""
        lease_s = self._tools.settings.batches.lease_s
        claimed = await self._tools.batches.claim(lease_s=lease_s)
        if claimed is None:
            return False
        batch_id, token = claimed
        lease = Lease(self._store, batch_id, token, lease_s=lease_s)
        if self._is_stopping.is_set():
            await lease.give_back()
            return False
        batch = await self._tools.batches.get(batch_id)
        if batch is None:
            log.error("%s: what stands in Redis is no batch", batch_id)
            await lease.give_back(pause_s=FAULT_PAUSE_S)
            return True
        session = Session(self._tools, batch, lease)
        task = asyncio.create_task(self._work(session, lease), name=batch_id)
        self._sessions[task] = session
        task.add_done_callback(self._sessions.pop)
        return True

    async def _work(self, session: Session, lease: Lease) -> None:
        """One session, and what is to become of the batch after it."""
        pause_s = 0.0
        try:
            if await session.run():
                return
        except LeaseLost as exc:
            log.warning("%s", exc)
            return
        except (StoreError, FilesUnavailable) as exc:
            log.warning("%s is tried again: %s", lease.batch_id, exc)
            pause_s = OUTAGE_PAUSE_S
        except Exception:  # a bug must not end the other batches; this one is tried again
            log.exception("%s failed", lease.batch_id)
            pause_s = FAULT_PAUSE_S
        try:
            await lease.give_back(pause_s=pause_s)
        except StoreError:
            log.warning("%s could not be given back: it is free when its lease is over", lease.batch_id)
