"""Retries: a new batch of only the lines of an ended one that failed."""

from __future__ import annotations

from dataclasses import replace

from shared.errors import BatchConflict
from shared.store.batch_record import Batch, Spec
from shared.store.files import FileStore
from shared.store.jobs import id_from_key


def retry_id(batch: Batch) -> str:
    """The id of a batch's retry, the same however often it is asked for."""
    return f"batch_{id_from_key(batch.client, f'{batch.id}:retry')}"


async def retry_spec(batch: Batch, files: FileStore) -> Spec:
    """What a retry is asked for with: the same input and window, and only the lines in the error file.

    Raises:
        BatchConflict: The batch goes on, or no line failed.
        StoreError: No answer from Redis.
    """
    if not batch.is_ended:
        raise BatchConflict(f"batch {batch.id} is still {batch.status}: cancel it, or wait for its end")
    failures = await files.get(batch.error_file_id or "")
    if failures is None:
        raise BatchConflict(f"no line of batch {batch.id} failed, or its error file is gone")
    return replace(batch.spec, only_blob=failures.blob, retry_of=batch.id)
