"""The sweeper: what nothing names is deleted, and nothing else."""

from __future__ import annotations

import time

from producer.batcher.sweeper import Sweeper

from .desk import Desk, line


async def names(desk: Desk) -> set[str]:
    return {one.name for folder in ("files", "segments") for one in await desk.blobs.find(folder)}


def sweeper(desk: Desk) -> Sweeper:
    return Sweeper(desk.blobs, desk.files, desk.batches)


async def test_blob_of_a_file_stays_until_the_file_goes(desk: Desk) -> None:
    record = await desk.upload(line(1))
    await sweeper(desk).sweep(before=time.time() + 10)
    assert await names(desk) == {record.blob}
    await desk.files.delete(record)
    assert await sweeper(desk).sweep(before=time.time() + 10) == 1
    assert await names(desk) == set()


async def test_young_blob_is_left_alone(desk: Desk) -> None:
    """Its record may be on its way."""
    await desk.blobs.put("files/file-1.x", b"x")
    assert await sweeper(desk).sweep(before=time.time() - 10) == 0


async def test_lost_upload_under_a_known_id_goes(desk: Desk) -> None:
    """Of two uploads with one key, the second has a blob that the record does not name."""
    record = await desk.upload(line(1))
    await desk.blobs.put(f"files/{record.id}.other", b"x")
    await sweeper(desk).sweep(before=time.time() + 10)
    assert await names(desk) == {record.blob}


async def test_input_of_an_open_batch_stays(desk: Desk) -> None:
    """Also when its file is gone."""
    batch_id = await desk.submit(line(1))
    batch = await desk.get(batch_id)
    record = await desk.files.get(batch.spec.input_file_id)
    assert record is not None
    await desk.files.delete(record)
    await sweeper(desk).sweep(before=time.time() + 10)
    assert await names(desk) == {batch.spec.input_blob}


async def test_segments_go_when_their_batch_has_ended(desk: Desk) -> None:
    batch_id = await desk.submit(line(1))
    for name in (f"segments/{batch_id}/1.o", "segments/batch_over/1.o"):
        await desk.blobs.put(name, b"x")
    await sweeper(desk).sweep(before=time.time() + 10)
    assert {name for name in await names(desk) if name.startswith("segments")} == {f"segments/{batch_id}/1.o"}
