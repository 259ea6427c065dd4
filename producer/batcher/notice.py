"""What webhooks tell of batches: `batch.completed`, `batch.failed`, `batch.expired`, `batch.cancelled`."""

from __future__ import annotations

from producer.webhooks.event import Describe, Notice
from shared.store.batches import BatchStore


def batch_describer(batches: BatchStore) -> Describe:
    """Looks up what is to be told of a batch."""

    async def describe(batch_id: str) -> Notice | None:
        batch = await batches.get(batch_id)
        if batch is None or not batch.is_ended or batch.spec.webhook_url is None:
            return None
        at = batch.times.get(f"{batch.status}_at", batch.created_at)
        return Notice(
            batch.spec.webhook_url, f"batch.{batch.status}", float(at), {"id": batch.id}, batch.client
        )

    return describe
