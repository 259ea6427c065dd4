"""What webhooks are told of batches."""

from __future__ import annotations

from producer.batcher.notice import batch_describer
from shared.store.batches import Lease

from .desk import Desk, line

URL = "https://a.example/x"


async def end(desk: Desk, batch_id: str) -> None:
    found = await desk.batches.claim(lease_s=30)
    assert found is not None
    lease = Lease(desk.store, *found, lease_s=30)
    await lease.finish("completed", (await desk.get(batch_id)).spec, ttl_s=1000)


async def test_end_of_a_batch_is_told_with_its_time(desk: Desk) -> None:
    batch_id = await desk.submit(line(1), webhook_url=URL)
    await end(desk, batch_id)
    notice = await batch_describer(desk.batches)(batch_id)
    assert notice is not None
    assert (notice.url, notice.type, notice.client) == (URL, "batch.completed", "default")
    assert notice.data == {"id": batch_id}
    assert notice.at == (await desk.get(batch_id)).times["completed_at"]


async def test_batch_that_goes_on_or_wants_no_webhook_is_not_told(desk: Desk) -> None:
    describe = batch_describer(desk.batches)
    assert await describe(await desk.submit(line(1), webhook_url=URL)) is None
    await desk.batches.cancel(await desk.submit(line(1)))
    assert await describe("batch_none") is None
