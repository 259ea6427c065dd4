"""File records: made once, listed by age, gone with their TTL."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shared.store import keys, pages
from shared.store.connect import Store
from shared.store.files import FileRecord, FileStore
from shared.store.jobs import new_id

LATER = 4_000_000_000


def record(
    file_id: str = "", *, client: str = "a", purpose: str = "batch", blob: str = "files/x"
) -> FileRecord:
    return FileRecord(file_id or f"file-{new_id()}", client, 5, "in.jsonl", purpose, 1, LATER, blob)


@pytest.fixture
def files(store: Store) -> FileStore:
    return FileStore(store)


async def ids(
    files: FileStore, *, after: str | None = None, limit: int = 10, newest: bool = True
) -> list[str]:
    page = await files.page("a", after=after, limit=limit, is_newest_first=newest, purpose=None)
    assert page is not None
    return [one.id for one in page.entries]


async def test_record_is_read_back(files: FileStore) -> None:
    one = record()
    assert await files.create(one) == one
    assert await files.get(one.id) == one


async def test_second_creation_gives_the_first_record(files: FileStore) -> None:
    """The caller compares, and throws its own blob away."""
    one = record()
    await files.create(one)
    assert await files.create(record(one.id, blob="files/y")) == one


async def test_record_goes_with_its_time(files: FileStore) -> None:
    """One that is over is not there."""
    one = record()
    await files.create(FileRecord(**{**{n: getattr(one, n) for n in one.__slots__}, "expires_at": 1}))
    assert await files.get(one.id) is None


async def test_pages_follow_each_other(files: FileStore) -> None:
    made = [(await files.create(record())).id for _ in range(5)]
    made.sort(reverse=True)  # those of one millisecond stand in the order of their ids
    seen: list[str] = []
    after = None
    for _ in range(5):
        (one,) = await ids(files, after=after, limit=1)
        seen.append(one)
        after = one
    assert sorted(seen) == sorted(made)
    assert await ids(files, after=after, limit=1) == []
    assert await ids(files, newest=False) == seen[::-1]


async def test_deleted_file_is_a_place_to_go_on_from(files: FileStore) -> None:
    """Who pages through files and deletes each does not lose the way."""
    for _ in range(3):
        await files.create(record())
    first, *rest = await ids(files)
    gone = await files.get(first)
    assert gone is not None
    assert not await files.delete(gone)
    assert await ids(files, after=first) == rest
    assert await ids(files) == rest


@pytest.mark.parametrize("is_newest_first", [True, False])
async def test_page_has_each_file_once_whatever_happens_meanwhile(
    files: FileStore, store: Store, monkeypatch: pytest.MonkeyPatch, is_newest_first: bool
) -> None:
    """While it is read, files are made, and ids of old ones leave the listing."""
    monkeypatch.setattr(pages, "LOOK", 2)
    there = [(await files.create(record())).id for _ in range(5)]
    await store.client.zadd(keys.files("a"), {"file-old": 1})
    read_many = files.get_many

    async def meanwhile(ids: Sequence[str]) -> list[FileRecord | None]:
        await files.create(record())
        await store.client.zrem(keys.files("a"), "file-old")
        return await read_many(ids)

    monkeypatch.setattr(files, "get_many", meanwhile)
    page = await files.page("a", after=None, limit=5, is_newest_first=is_newest_first, purpose=None)
    assert page is not None
    assert [one.id for one in page.entries] == (there[::-1] if is_newest_first else there)


async def test_unknown_place_has_no_page(files: FileStore) -> None:
    assert await files.page("a", after="file-x", limit=1, is_newest_first=True, purpose=None) is None


async def test_old_entry_without_a_record_leaves_the_listing(files: FileStore, store: Store) -> None:
    await store.client.zadd("chatq:files:a", {"file-old": 1})
    await store.client.expire("chatq:files:a", 1000)
    assert await ids(files) == []
    assert await store.client.exists("chatq:files:a") == 0


async def test_purpose_narrows_the_list(files: FileStore) -> None:
    await files.create(record())
    wanted = await files.create(record(purpose="batch_output"))
    page = await files.page("a", after=None, limit=5, is_newest_first=True, purpose="batch_output")
    assert page is not None
    assert page.entries == [wanted]


async def test_unlisted_file_is_read_by_its_id_only(files: FileStore) -> None:
    one = await files.create(record(), is_listed=False)
    assert await files.get(one.id) == one
    assert await ids(files) == []


@pytest.mark.parametrize("text", [b"no json", b"[]", b"{}", b'{"id":1}', b"x" * 9000])
async def test_what_is_no_record_is_no_file(files: FileStore, store: Store, text: bytes) -> None:
    """Anybody can write to Redis."""
    one = record()
    await store.client.set(f"chatq:file:{one.id}", text, ex=100)
    assert await files.get(one.id) is None


@pytest.mark.parametrize("file_id", ["", "x", "file-", "file-x\n", "file-" + "0" * 31 + "*"])
async def test_strange_id_is_no_file(files: FileStore, file_id: str) -> None:
    assert await files.get(file_id) is None


async def test_key_of_another_type_is_no_file(files: FileStore, store: Store) -> None:
    one = record()
    await store.client.lpush(f"chatq:file:{one.id}", "x")
    await store.client.expire(f"chatq:file:{one.id}", 100)
    assert await files.get(one.id) is None
