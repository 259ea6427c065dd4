"""Files as Redis knows them: whose they are, what they are called, and under which name their bytes are kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from shared.store import keys
from shared.store.connect import Store
from shared.store.pages import Page, read_page
from shared.store.pipe import Arg
from shared.store.replies import reply_of

FILE_ID = re.compile(r"file-[0-9a-f]{32}")

MAX_RECORD_BYTES = 8 * 1024
"""Longest record that is read; anybody can write to Redis."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What there is to know of a file. Times are Unix seconds.

    Attributes:
        size: In bytes.
        blob: Name of its bytes in the file store; "" while its batch runs, whose segments they are.
        digest: Of its bytes.
        batch: The batch whose results these are; "" for an upload.
    """

    id: str
    client: str
    size: int
    filename: str
    purpose: str
    created_at: int
    expires_at: int
    blob: str
    digest: str = ""
    batch: str = ""

    def encode(self) -> bytes:
        """As Redis keeps it."""
        return orjson.dumps(asdict(self))


class FileStore:
    """Access to file records. All calls are safe to repeat."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, record: FileRecord, *, is_listed: bool = True) -> FileRecord:
        """Make a file known; returns the one that has its id already, or this one.

        Raises:
            StoreFull: Redis is at maxmemory.
            StoreUnavailable: Unknown outcome; create it again.
        """
        args: list[Arg] = [record.id, record.client, record.encode(), record.expires_at, int(is_listed)]
        known = await self._store.run("create_file", args)
        return (_read(known) if known else None) or record

    async def get(self, file_id: str) -> FileRecord | None:
        """A file; None when there is none.

        Raises:
            StoreError: No answer from Redis.
        """
        if FILE_ID.fullmatch(file_id) is None:
            return None
        return _read(await reply_of(self._store.client.get(keys.file(file_id)), None))

    async def delete(self, record: FileRecord) -> bool:
        """Forget a file; returns whether its bytes have to stay, for a batch that reads them.

        Raises:
            StoreError: No answer from Redis.
        """
        return bool(await self._store.run("delete_file", [record.id, record.blob]))

    async def page(
        self, client: str, *, after: str | None, limit: int, is_newest_first: bool, purpose: str | None
    ) -> Page[FileRecord] | None:
        """Some of a client's files; None when `after` is none of them.

        Raises:
            StoreError: No answer from Redis.
        """
        return await read_page(
            self._store, keys.files(client), self.get_many, after=after, limit=limit,
            is_newest_first=is_newest_first,
            is_wanted=lambda record: purpose is None or record.purpose == purpose,
        )  # fmt: skip

    async def blobs_in_use(self) -> set[str]:
        """Names of the blobs that open batches read.

        Raises:
            StoreError: No answer from Redis.
        """
        names = await reply_of(self._store.client.hkeys(keys.BLOBS_IN_USE), [])
        return {name.decode(errors="replace") for name in names}

    async def get_many(self, file_ids: Sequence[str]) -> list[FileRecord | None]:
        """Files by id, None for those that are not there.

        Raises:
            StoreError: No answer from Redis.
        """
        if not file_ids:
            return []
        texts = await reply_of(self._store.client.mget([keys.file(one) for one in file_ids]), [])
        return [_read(text) for text in texts]


def _read(text: bytes | None) -> FileRecord | None:
    """A record from untrusted JSON; None for what is none."""
    if text is None or len(text) > MAX_RECORD_BYTES:
        return None
    try:
        fields: Any = orjson.loads(text)
        kinds = FileRecord.__annotations__
        if not isinstance(fields, dict) or fields.keys() != kinds.keys():
            return None
    except orjson.JSONDecodeError:
        return None
    is_typed = all(type(value).__name__ == kinds[name] for name, value in fields.items())
    return FileRecord(**fields) if is_typed else None
