"""Blobs: bytes under a name, in one folder of a file system or an object store (any of fsspec's).

A blob is written once, under a name that nobody knows before it is complete, and never changed; so readers need no
locks, and what a crash leaves behind is a blob that no record names (`sweeper.py` removes it).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, TypeVar, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from shared.errors import BlobMissing, ConfigError, FilesUnavailable
from shared.settings import Settings

CHUNK_BYTES = 1024 * 1024
"""What is read or written at a time: a hop to a thread costs as much as 0.1 MB of copying."""

PART_BYTES = 8 * 1024 * 1024
"""What an object store is sent or asked for at a time; S3 takes 10,000 parts, so 80 GB a blob."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A blob in a listing."""

    name: str
    changed_at: float | None
    """Unix seconds; None where the store does not say."""


def open_blobs(settings: Settings) -> Blobs:
    """The blobs of these settings.

    Raises:
        ConfigError: The address cannot be used here, for want of a package for instance.
    """
    url = settings.files.url or (settings.redis.data_dir.absolute() / "files").as_uri()
    try:
        # Listings from memory would show the sweeper what is gone, and readers nothing of what others write.
        file_system, root = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError, OSError) as exc:
        raise ConfigError(f"files.url: cannot be used ({exc}); for s3:// install chatq[s3]") from None
    if isinstance(file_system, LocalFileSystem):
        _make_private(Path(root))
    return Blobs(file_system, root)


class Blobs:
    """The blobs of one folder. Names are paths with `/`. All work is done in threads."""

    def __init__(self, file_system: AbstractFileSystem, root: str) -> None:
        self._files = file_system
        self._root = root.rstrip("/")

    async def put(self, name: str, data: bytes) -> None:
        """Write a blob; it lasts when this returns.

        Raises:
            FilesUnavailable: The store does not take it; nothing or a part may be there.
        """
        async with self.writer(name) as writer:
            await writer.write(data)

    def writer(self, name: str) -> BlobWriter:
        """Write a blob piece by piece; an async context manager."""
        return BlobWriter(self._files, self._path(name))

    def open(self, name: str) -> BlobReader:
        """Open a blob for reading; for threads.

        Raises:
            BlobMissing: There is none.
            FilesUnavailable: The store does not give it.
        """
        return BlobReader(
            _translated(lambda: self._files.open(self._path(name), "rb", block_size=PART_BYTES))
        )

    async def read(self, name: str, *, start: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        """Read a blob, or a part of it.

        Raises:
            BlobMissing: There is none.
            FilesUnavailable: The store does not give it.
        """
        file = await asyncio.to_thread(self.open, name)
        left = size
        try:
            await asyncio.to_thread(file.seek, start)
            while left is None or left > 0:
                asked = CHUNK_BYTES if left is None else min(CHUNK_BYTES, left)
                chunk = await asyncio.to_thread(file.read, asked)
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk
        finally:
            await asyncio.to_thread(file.close)

    async def delete(self, names: Sequence[str]) -> None:
        """Delete blobs; one that is not there is fine.

        Raises:
            FilesUnavailable: The store does not do it; delete them again.
        """

        def delete() -> None:
            for name in names:
                with suppress(FileNotFoundError):
                    self._files.rm_file(self._path(name))

        await _call(delete)

    async def find(self, folder: str) -> list[BlobInfo]:
        """All blobs under a folder.

        Raises:
            FilesUnavailable: The store does not say.
        """

        def find() -> list[BlobInfo]:
            found = self._files.find(self._path(folder), detail=True)
            return [BlobInfo(self._name(path), _changed_at(entry)) for path, entry in found.items()]

        return await _call(find)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _name(self, path: str) -> str:
        return path.removeprefix(f"{self._root}/")


class BlobReader:
    """Reads one blob, in a thread. A context manager; what goes wrong is one of our errors, no OSError."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none at the end.

        Raises:
            FilesUnavailable: The store does not give them.
        """
        return _translated(lambda: cast(bytes, self._file.read(size)))

    def seek(self, at: int) -> None:
        """Go on reading from there."""
        _translated(lambda: self._file.seek(at))

    def close(self) -> None:
        """Close it."""
        self._file.close()


class BlobWriter:
    """Writes one blob. Left with an exception, nothing of it stays.

    Attributes:
        size: Bytes taken so far.
    """

    def __init__(self, file_system: AbstractFileSystem, path: str) -> None:
        self.size = 0
        self._files = file_system
        self._path = path
        self._digest = hashlib.blake2b(digest_size=16)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._file: Any = None
        # A caller that is cancelled leaves its thread behind in the middle of a write.
        self._lock = threading.Lock()

    async def __aenter__(self) -> BlobWriter:
        await _call(self._open)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is not None:
            await asyncio.shield(_call(self._abandon))
            return
        try:
            await self._flush()
            await _call(self._commit)
        except BaseException:
            await asyncio.shield(_call(self._abandon))
            raise

    async def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            FilesUnavailable: The store does not take them.
        """
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self.size += len(data)
        if self._waiting_bytes >= CHUNK_BYTES:
            await self._flush()

    @property
    def digest(self) -> str:
        """Of all bytes; complete when the context is left."""
        return self._digest.hexdigest()

    async def _flush(self) -> None:
        data = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        if data:
            await _call(lambda: self._write(data))

    def _open(self) -> None:
        with self._lock:
            self._files.makedirs(str(PurePosixPath(self._path).parent), exist_ok=True)
            self._file = self._files.open(self._path, "wb", block_size=PART_BYTES)

    def _write(self, data: bytes) -> None:
        with self._lock:
            self._digest.update(data)
            self._file.write(data)

    def _commit(self) -> None:
        with self._lock:
            if isinstance(self._files, LocalFileSystem):
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                _sync_folder(Path(self._path).parent)
            else:
                self._file.close()

    def _abandon(self) -> None:
        with self._lock:
            if self._file is None:
                return
            if isinstance(self._file, AbstractBufferedFile):
                # Closing would complete the upload of what is there.
                self._file.discard()
                self._file.closed = True
            else:
                self._file.close()
            with suppress(FileNotFoundError):
                self._files.rm_file(self._path)


async def _call(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(_translated, work)


def _translated(work: Callable[[], T]) -> T:
    """Run it; whatever the store raises becomes one of ours."""
    try:
        return work()
    except FileNotFoundError:
        raise BlobMissing("the content of a file is gone from the file store") from None
    except Exception as exc:  # each store has its own errors, and few are OSErrors
        raise FilesUnavailable(f"the file store does not do its work ({type(exc).__name__}: {exc})") from exc


def _make_private(folder: Path) -> None:
    """Make the folder, for its owner alone: prompts and answers are in it.

    Raises:
        ConfigError: It cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"files.url: cannot make {folder}: {exc.strerror}") from None


def _sync_folder(folder: Path) -> None:
    """Make the appearing of a file last, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _changed_at(entry: dict[str, Any]) -> float | None:
    """When a blob was written, by whichever name its store has for that."""
    for key in ("mtime", "LastModified", "last_modified", "created"):
        match entry.get(key):
            case float() | int() as seconds:
                return float(seconds)
            case datetime() as moment:
                return moment.timestamp()
    return None
