"""The result files of a batch: while it runs they are its segments, in the end one blob each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from producer.files.blobs import Blobs
from producer.files.content import ERROR_SUFFIX
from shared.store.batch_record import Batch, Kind, Segment
from shared.store.files import FileRecord
from shared.store.jobs import id_from_key, new_id

PURPOSE = "batch_output"
"""OpenAI's word for both files."""

_SUFFIXES: dict[Kind, str] = {"o": "_output.jsonl", "e": ERROR_SUFFIX}


def result_id(batch: Batch, kind: Kind) -> str:
    """The id of a batch's output or error file: always the same, whoever works it out."""
    return f"file-{id_from_key(batch.client, f'{batch.id}:{kind}')}"


def running_file(batch: Batch, kind: Kind, *, ttl_s: int) -> FileRecord:
    """The record of a result file while the batch runs: its bytes are the segments'."""
    name = f"{batch.id}{_SUFFIXES[kind]}"
    file_id, expires_at = result_id(batch, kind), batch.expires_at + ttl_s
    return FileRecord(
        file_id, batch.client, 0, name, PURPOSE, int(time.time()), expires_at, blob="", batch=batch.id
    )


async def compact(blobs: Blobs, batch: Batch, segments: Sequence[Segment], kind: Kind) -> FileRecord:
    """Put the segments of a kind together into one blob, in the order they were recorded.

    A crash leaves a blob that nobody knows; the next one writes its own.

    Raises:
        FilesUnavailable: They cannot be read, or it cannot be written.
    """
    running = running_file(batch, kind, ttl_s=0)
    blob = f"files/{running.id}.{new_id()}"
    async with blobs.writer(blob) as writer:
        for segment in segments:
            if segment.kind == kind:
                async for piece in blobs.read(segment.blob):
                    await writer.write(piece)
    now = int(time.time())
    return replace(
        running, size=writer.size, created_at=now, expires_at=now + batch.spec.output_ttl_s,
        blob=blob, digest=writer.digest,
    )  # fmt: skip
