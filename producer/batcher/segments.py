"""Segments: what a batch has recorded so far, in blobs that are written once and listed in Redis.

A segment counts from the moment that it stands in the batch's list, which is also when the counts of the batch take
its lines in. A crash before that leaves a blob that nobody knows, and its lines are collected and recorded again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from producer.batch.outcome import Outcome
from producer.batch.record import Head, read_head
from producer.batch.tally import Tally
from producer.batcher.records import LineRecords
from producer.files.blobs import CHUNK_BYTES, Blobs
from shared.errors import ChatqError, FilesUnavailable
from shared.store.batch_record import Kind, Progress, Segment
from shared.store.batches import Lease
from shared.store.jobs import new_id

FIRST_PAUSE_S, MORE_S, LONGEST_PAUSE_S = 0.1, 0.01, 10.0
"""How long outcomes wait for others: at first, more for each segment that is there, and at most. A batch that takes
a day has some ten thousand segments then, not one a line."""


class LeaseLost(ChatqError):
    """Another batcher has the batch now, or it is over: what this one would say of it counts no more."""

    code = "lease_lost"


class SegmentOutput:
    """Records outcomes as segments.

    Attributes:
        progress: How far the batch came.
        tally: Of this session.
    """

    def __init__(
        self,
        blobs: Blobs,
        lease: Lease,
        records: LineRecords,
        progress: Progress,
        tally: Tally,
        *,
        there: int,
    ) -> None:
        self.progress = progress
        self._blobs = blobs
        self._lease = lease
        self._records = records
        self.tally = tally
        self._there = there

    @property
    def pause_s(self) -> float:
        """How long outcomes wait for others to be recorded with them, in seconds."""
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S + self._there * MORE_S)

    async def append(self, group: Sequence[Outcome]) -> None:
        """Record outcomes; they last when this returns.

        Raises:
            FilesUnavailable, StoreUnavailable: They are not recorded, or it is not known.
            LeaseLost: They are not recorded, and it is for another batcher to do that.
        """
        encoded = self._records.encode(group, self.progress)
        encoded.progress.rate_per_s = round(self.tally.rate_per_s(), 3)
        parts: list[tuple[Kind, list[bytes]]] = [("o", encoded.answers), ("e", encoded.failures)]
        segments = await asyncio.gather(*(self._write(kind, lines) for kind, lines in parts if lines))
        held = await self._lease.renew(progress=encoded.progress, there=self._there, segments=segments)
        if not held.is_held:
            raise LeaseLost(f"{self._lease.batch_id} is another batcher's")
        self.progress = encoded.progress
        self._there += len(segments)

    async def _write(self, kind: Kind, lines: list[bytes]) -> Segment:
        data = b"".join(lines)
        name = f"segments/{self._lease.batch_id}/{self._there:06d}-{new_id()}.{kind}.jsonl"
        await self._blobs.put(name, data)
        return Segment(kind, len(data), name)


def recorded(blobs: Blobs, names: Sequence[str]) -> Iterator[Head]:
    """The heads of all records in some blobs. For a thread.

    Raises:
        FilesUnavailable: A blob cannot be read, or is not what a batcher writes.
    """
    for name in names:
        with blobs.open(name) as file:
            held = b""
            while chunk := file.read(CHUNK_BYTES):
                *lines, held = (held + chunk).split(b"\n")
                for line in lines:
                    yield _head(line + b"\n", name)
        if held:
            raise FilesUnavailable(f"{name} ends in the middle of a record")


def _head(record: bytes, name: str) -> Head:
    head = read_head(record)
    if head is None:
        raise FilesUnavailable(f"{name} holds something else than records")
    return head
