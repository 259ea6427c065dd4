"""The content of a file: one blob, or the segments that a running batch has recorded so far."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from producer.files.blobs import Blobs
from shared.store.batch_record import Kind
from shared.store.batches import BatchStore
from shared.store.files import FileRecord, FileStore

ERROR_SUFFIX = "_error.jsonl"
"""How the name of an error file ends (docs/openai-wire.md §7.6)."""


@dataclass(frozen=True, slots=True)
class Content:
    """Blobs, one after the other: name and bytes of each."""

    parts: Sequence[tuple[str, int]]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(size for _, size in self.parts)

    async def read(self, blobs: Blobs, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`.

        Raises:
            BlobMissing, FilesUnavailable: As `Blobs.read`.
        """
        at = 0
        for name, size in self.parts:
            first, last = max(start - at, 0), min(end - at, size)
            if first < last:
                async for piece in blobs.read(name, start=first, size=last - first):
                    yield piece
            at += size


async def find_content(record: FileRecord, files: FileStore, batches: BatchStore) -> Content | None:
    """Where a file's bytes are; None when it went meanwhile.

    Raises:
        StoreError: No answer from Redis.
    """
    if record.blob:
        return Content([(record.blob, record.size)])
    segments = await batches.segments(record.batch)
    # Read after the segments: when the batch ended before that, they are gone and the record names a blob.
    now = await files.get(record.id)
    if now is None or now.blob:
        return Content([(now.blob, now.size)]) if now is not None else None
    kind: Kind = "e" if record.filename.endswith(ERROR_SUFFIX) else "o"
    return Content([(one.blob, one.bytes) for one in segments if one.kind == kind])
