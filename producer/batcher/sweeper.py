"""The sweeper: deletes blobs that no record names: of files that expired or were deleted, and what crashes left."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from itertools import islice

from producer.files.blobs import BlobInfo, Blobs
from shared.errors import FilesUnavailable, StoreError
from shared.store.batches import BatchStore
from shared.store.files import FileStore

log = logging.getLogger(__name__)

EVERY_S = 600.0
"""Between two rounds."""

YOUNG_S = 3600.0
"""A younger blob is left alone: its record may come, or somebody may be reading it."""

AT_ONCE = 100
"""Blobs deleted at a time."""


class Sweeper:
    """Sweeps; any number of processes may do it at the same time."""

    def __init__(self, blobs: Blobs, files: FileStore, batches: BatchStore) -> None:
        self._blobs = blobs
        self._files = files
        self._batches = batches

    async def run(self) -> None:
        """Sweep for ever; cancel it."""
        while True:
            try:
                count = await self.sweep(before=time.time() - YOUNG_S)
                if count:
                    log.info("%d blobs that nothing names are deleted", count)
            except (StoreError, FilesUnavailable) as exc:
                log.warning("cannot sweep the file store: %s", exc)
            await asyncio.sleep(EVERY_S)

    async def sweep(self, *, before: float) -> int:
        """Delete what nothing names; returns how many blobs.

        Args:
            before: Only blobs that were written before then, Unix seconds.

        Raises:
            StoreError, FilesUnavailable: Redis or the file store is away; the next round goes on.
        """
        return await self._sweep_files(before) + await self._sweep_segments(before)

    async def _sweep_files(self, before: float) -> int:
        old = iter(list(_older(await self._blobs.find("files"), before)))
        count = 0
        while names := list(islice(old, AT_ONCE)):
            ids = [name.partition("/")[2].partition(".")[0] for name in names]
            records = await self._files.get_many(ids)
            # After the records: the file of an open batch can be deleted at any time.
            used = await self._files.blobs_in_use()
            gone = [
                name
                for name, one in zip(names, records, strict=True)
                if name not in used and (one is None or one.blob != name)
            ]
            await self._blobs.delete(gone)
            count += len(gone)
        return count

    async def _sweep_segments(self, before: float) -> int:
        # The blobs first: a batch that is made after that has none among them.
        names = list(_older(await self._blobs.find("segments"), before))
        running = await self._batches.open_ids()
        gone = [name for name in names if name.split("/")[1] not in running]
        for start in range(0, len(gone), AT_ONCE):
            await self._blobs.delete(gone[start : start + AT_ONCE])
        return len(gone)


def _older(blobs: Iterable[BlobInfo], before: float) -> Iterable[str]:
    return (one.name for one in blobs if one.changed_at is not None and one.changed_at < before)
