"""Batches in Redis: who holds one, what is recorded, and what stays when calls are sent twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.errors import IdempotencyConflict
from shared.store.batch_record import Progress, Segment, Spec
from shared.store.batches import BatchStore, Lease
from shared.store.connect import Store
from shared.store.files import FileRecord, FileStore
from shared.store.jobs import new_id

FILE = FileRecord("file-" + "a" * 32, "a", 1, "in.jsonl", "batch", 1, 4_000_000_000, "files/in")
SPEC = Spec("/v1/chat/completions", FILE.id, FILE.blob, "1h", 3600, 3600)


@pytest.fixture
async def batches(store: Store) -> BatchStore:
    await FileStore(store).create(FILE)
    return BatchStore(store)


async def made(batches: BatchStore, spec: Spec = SPEC) -> str:
    batch_id = f"batch_{new_id()}"
    assert await batches.create(batch_id, "a", spec, ttl_s=1000)
    return batch_id


async def claimed(batches: BatchStore, store: Store, *, lease_s: float = 30.0) -> Lease:
    found = await batches.claim(lease_s=lease_s)
    assert found is not None
    return Lease(store, *found, lease_s=lease_s)


async def test_new_batch_is_validating(batches: BatchStore) -> None:
    """With its deadline, and no counts yet."""
    batch = await batches.get(await made(batches))
    assert batch is not None
    assert (batch.status, batch.client, batch.spec) == ("validating", "a", SPEC)
    assert batch.expires_at == batch.created_at + 3600
    assert batch.progress == Progress()


async def test_same_request_gives_the_same_batch(batches: BatchStore) -> None:
    """Also when its input was stored under another name; another request is a conflict."""
    batch_id = await made(batches)
    assert await batches.create(batch_id, "a", replace(SPEC, input_blob="files/other"), ttl_s=1000)
    with pytest.raises(IdempotencyConflict):
        await batches.create(batch_id, "a", replace(SPEC, window_s=60), ttl_s=1000)


async def test_batch_needs_its_file(batches: BatchStore) -> None:
    gone = replace(SPEC, input_file_id="file-" + "b" * 32)
    assert not await batches.create(f"batch_{new_id()}", "a", gone, ttl_s=1000)


async def test_batches_are_claimed_once_and_in_order(batches: BatchStore, store: Store) -> None:
    first, second = await made(batches), await made(batches)
    await store.client.zadd("chatq:batches:open", {first: 1, second: 2})
    assert [(await claimed(batches, store)).batch_id for _ in range(2)] == [first, second]
    assert await batches.claim(lease_s=1) is None


async def test_claim_sent_twice_gives_the_same(batches: BatchStore, store: Store) -> None:
    """Its reply may have been lost; the second batch stays free."""
    await made(batches)
    await made(batches)
    one = await store.run("claim_batch", ["token", 30_000])
    assert await store.run("claim_batch", ["token", 30_000]) == one


async def test_silent_batcher_loses_its_batch(batches: BatchStore, store: Store) -> None:
    """Whatever it says afterwards is refused."""
    batch_id = await made(batches)
    silent = await claimed(batches, store)
    await store.client.zadd("chatq:batches:open", {batch_id: 1})
    other = await claimed(batches, store)
    progress = Progress(total=5, completed=5)
    held = await silent.renew(progress=progress, segments=[Segment("o", 5, "x")])
    assert not held.is_held
    assert not (await silent.finish("completed", SPEC, ttl_s=1000)).is_held
    await silent.give_back()
    assert await batches.segments(batch_id) == []
    assert (await other.renew()).is_held


async def test_segments_sent_twice_stand_there_once(batches: BatchStore, store: Store) -> None:
    batch_id = await made(batches)
    lease = await claimed(batches, store)
    parts = [Segment("o", 5, "segments/1.o"), Segment("e", 6, "segments/1.e")]
    for _ in range(2):
        held = await lease.renew(progress=Progress(total=9, completed=2), there=0, segments=parts)
        assert held.is_held
    assert await batches.segments(batch_id) == parts
    await lease.renew(there=2, segments=[Segment("o", 1, "segments/2.o")])
    assert len(await batches.segments(batch_id)) == 3
    batch = await batches.get(batch_id)
    assert batch is not None
    assert (batch.progress.total, batch.progress.completed) == (9, 2)


async def test_state_keeps_the_time_it_was_reached(batches: BatchStore, store: Store) -> None:
    batch_id = await made(batches)
    lease = await claimed(batches, store)
    held = await lease.renew(status="in_progress", files=("file-o", "file-e"))
    assert (held.status, held.left_s > 3000) == ("in_progress", True)
    batch = await batches.get(batch_id)
    assert batch is not None
    assert batch.times["in_progress_at"] >= batch.created_at
    assert (batch.output_file_id, batch.error_file_id) == ("file-o", "file-e")


async def test_cancelling_stays_until_the_end(batches: BatchStore, store: Store) -> None:
    """The batcher's states do not go over it, and the end is `cancelled`, whatever it says."""
    batch_id = await made(batches)
    lease = await claimed(batches, store)
    await lease.renew(status="in_progress")
    await batches.cancel(batch_id)
    assert (await lease.renew(status="finalizing")).status == "cancelling"
    assert (await lease.finish("completed", SPEC, ttl_s=1000)).status == "cancelled"
    batch = await batches.get(batch_id)
    assert batch is not None
    assert batch.times.keys() == {"in_progress_at", "cancelling_at", "cancelled_at"}


async def test_finalizing_batch_is_not_cancelled(batches: BatchStore, store: Store) -> None:
    """All its lines have ended; nothing would be spared."""
    batch_id = await made(batches)
    lease = await claimed(batches, store)
    await lease.renew(status="finalizing")
    await batches.cancel(batch_id)
    assert (await lease.finish("completed", SPEC, ttl_s=1000)).status == "completed"


async def test_ended_batch_is_not_cancelled(batches: BatchStore, store: Store) -> None:
    batch_id = await made(batches)
    await (await claimed(batches, store)).finish("completed", SPEC, ttl_s=1000)
    await batches.cancel(batch_id)
    batch = await batches.get(batch_id)
    assert batch is not None
    assert (batch.status, batch.times.keys()) == ("completed", {"completed_at"})


async def test_end_sent_twice_is_one_end(batches: BatchStore, store: Store) -> None:
    """Files and blobs are counted once; the batch is nobody's to take."""
    await made(batches)
    await made(batches)
    lease = await claimed(batches, store)
    output = FileRecord("file-" + "c" * 32, "a", 1, "o.jsonl", "batch_output", 1, 4_000_000_000, "files/o")
    for _ in range(2):
        assert (await lease.finish("completed", SPEC, ttl_s=1000, output=output)).is_held
    files = FileStore(store)
    assert await files.get(output.id) == output
    assert await files.blobs_in_use() == {FILE.blob}
    assert await store.client.hget("chatq:batches:blobs", FILE.blob) == b"1"
    await (await claimed(batches, store)).finish("completed", SPEC, ttl_s=1000)
    assert await files.blobs_in_use() == set()
    assert await batches.claim(lease_s=1) is None


async def test_refused_input_stays_refused_when_it_is_cancelled(batches: BatchStore, store: Store) -> None:
    """There are no files, and some clients wait for one of a cancelled batch for ever."""
    batch_id = await made(batches)
    await batches.cancel(batch_id)
    held = await (await claimed(batches, store)).finish("failed", SPEC, ttl_s=1000, errors=[{"code": "x"}])
    batch = await batches.get(batch_id)
    assert batch is not None
    assert (held.status, batch.status, batch.errors) == ("failed", "failed", [{"code": "x"}])


async def test_dropped_result_file_is_gone(batches: BatchStore, store: Store) -> None:
    """Its record was there while the batch ran."""
    await made(batches)
    files = FileStore(store)
    running = FileRecord(
        "file-" + "d" * 32, "a", 0, "e.jsonl", "batch_output", 1, 4_000_000_000, "", batch="b"
    )
    await files.create(running, is_listed=False)
    await (await claimed(batches, store)).finish("completed", SPEC, ttl_s=1000, dropped=[running.id])
    assert await files.get(running.id) is None


async def test_webhook_is_due_when_the_batch_ends(batches: BatchStore, store: Store) -> None:
    """In the same step: nobody dies in between."""
    hooked, other = await made(batches, replace(SPEC, webhook_url="https://a.example/x")), await made(batches)
    for _ in range(2):
        await (await claimed(batches, store)).finish("completed", SPEC, ttl_s=1000)
    due = await store.client.zrange("chatq:webhooks:due", 0, -1)
    assert due == [f"batch:{hooked}".encode()]
    assert other
    await store.client.delete("chatq:webhooks:due")


async def test_given_back_batch_is_taken_again(batches: BatchStore, store: Store) -> None:
    """At once, or after a pause."""
    batch_id = await made(batches)
    await (await claimed(batches, store)).give_back()
    lease = await claimed(batches, store)
    assert lease.batch_id == batch_id
    await lease.give_back(pause_s=60)
    assert await batches.claim(lease_s=1) is None


async def test_vanished_batch_leaves_the_open_ones(batches: BatchStore, store: Store) -> None:
    """Its TTL ran out before any batcher came."""
    await store.client.zadd("chatq:batches:open", {"batch_gone": 1})
    assert await batches.claim(lease_s=1) is None
    assert await batches.open_ids() == set()


@pytest.mark.parametrize(
    "fields",
    [{"spec": b"[]"}, {"spec": b"{"}, {"progress": b'{"x":1}'}, {"created_at": b"x"}, {"client": b"\xff"}],
)
async def test_what_is_no_batch_is_none(batches: BatchStore, store: Store, fields: dict[str, bytes]) -> None:
    """Anybody can write to Redis."""
    batch_id = await made(batches)
    await store.client.hset(f"chatq:batch:{batch_id}", mapping=fields)
    assert await batches.get(batch_id) is None


async def test_list_has_only_the_clients_own(batches: BatchStore) -> None:
    mine = await made(batches)
    await batches.create(f"batch_{new_id()}", "b", SPEC, ttl_s=1000)
    page = await batches.page("a", after=None, limit=10)
    assert page is not None
    assert ([one.id for one in page.entries], page.has_more) == ([mine], False)
