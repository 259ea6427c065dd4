"""Blobs: the same on a disk and in a store that has no paths; whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from producer.files.blobs import Blobs, open_blobs
from shared.errors import BlobMissing, ConfigError, FilesUnavailable
from tests.conftest import MakeSettings


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blobs]:
    """One store on disk, one that is nothing but names."""
    if request.param == "file":
        yield Blobs(fsspec.filesystem("file"), str(tmp_path / "blobs"))
        return
    memory = fsspec.filesystem("memory")
    yield Blobs(memory, "/test-blobs")
    if memory.exists("/test-blobs"):
        memory.rm("/test-blobs", recursive=True)


async def read(blobs: Blobs, name: str, **part: int) -> bytes:
    return b"".join([piece async for piece in blobs.read(name, **part)])


async def test_what_is_put_is_read(blobs: Blobs) -> None:
    await blobs.put("a/b.jsonl", b"hello")
    assert await read(blobs, "a/b.jsonl") == b"hello"


async def test_part_of_a_blob_is_read(blobs: Blobs) -> None:
    """From a place on, and so many bytes."""
    await blobs.put("a/b", b"0123456789")
    assert await read(blobs, "a/b", start=3, size=4) == b"3456"
    assert await read(blobs, "a/b", start=8) == b"89"


async def test_writer_counts_and_digests(blobs: Blobs) -> None:
    """The same content has the same digest, however it came in."""
    async with blobs.writer("a/one") as one:
        for piece in (b"ab" * 600_000, b"c"):
            await one.write(piece)
    async with blobs.writer("a/two") as two:
        await two.write(b"ab" * 600_000 + b"c")
    assert one.size == two.size == 1_200_001
    assert one.digest == two.digest
    assert len(await read(blobs, "a/one")) == 1_200_001


async def test_write_that_fails_leaves_nothing(blobs: Blobs) -> None:
    with pytest.raises(RuntimeError):
        async with blobs.writer("a/b") as writer:
            await writer.write(b"x" * 2_000_000)
            raise RuntimeError
    with pytest.raises(BlobMissing):
        await read(blobs, "a/b")


async def test_deleting_what_is_gone_is_fine(blobs: Blobs) -> None:
    await blobs.put("a/b", b"x")
    await blobs.delete(["a/b", "a/c"])
    assert await blobs.find("a") == []


async def test_blobs_are_found_by_folder(blobs: Blobs) -> None:
    """With the time they were written."""
    for name in ("a/1", "a/x/2", "b/3"):
        await blobs.put(name, b"x")
    found = await blobs.find("a")
    assert sorted(one.name for one in found) == ["a/1", "a/x/2"]
    assert all(one.changed_at for one in found)


async def test_folder_that_is_not_there_is_empty(blobs: Blobs) -> None:
    assert await blobs.find("nothing") == []


async def test_store_that_fails_is_told_as_such(tmp_path: Path) -> None:
    """Not as one of the store's own errors."""
    (tmp_path / "blobs").write_text("no folder")
    blobs = Blobs(fsspec.filesystem("file"), str(tmp_path / "blobs"))
    with pytest.raises(FilesUnavailable):
        await blobs.put("a/b", b"x")


def test_default_folder_is_for_its_owner_alone(make_settings: MakeSettings) -> None:
    """Beside the embedded server's files."""
    settings = make_settings()
    open_blobs(settings)
    folder = settings.redis.data_dir / "files"
    assert folder.stat().st_mode & 0o077 == 0


def test_unknown_kind_of_store_is_refused(make_settings: MakeSettings) -> None:
    settings = make_settings(CHATQ_FILES__URL="nothing-such://bucket")
    with pytest.raises(ConfigError, match=r"files\.url"):
        open_blobs(settings)
