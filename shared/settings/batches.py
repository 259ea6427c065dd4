"""Settings of uploaded files, and of the batches that run them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from shared.settings.section import Section
from shared.settings.sections import DAY_S, MIB


def _folder_url(url: str) -> str:
    if url and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s?#]+", url):
        raise ValueError('must be the address of a folder, like "file:///srv/chatq" or "s3://bucket/chatq"')
    return url


class FileSettings(Section):
    """Files that clients upload, and results of batches."""

    url: Annotated[str, AfterValidator(_folder_url)] = ""
    """Folder where they are kept: `file://`, `s3://` (extra `s3`), or any other of fsspec's stores.

    Empty: `files` in [redis] data_dir. API and batchers on several machines need one that all of them reach.
    """

    max_bytes: int = Field(default=200 * MIB, ge=1024, le=1024 * 1024 * MIB)
    """Largest file that can be uploaded, in bytes (OpenAI's limit for batches)."""

    ttl_s: int = Field(default=30 * DAY_S, ge=3600, le=366 * DAY_S)
    """How long a file is kept that states nothing else, in seconds (OpenAI's time for batches)."""


class BatchSettings(Section):
    """Batches of the HTTP API, and the batchers that run them."""

    max_lines: int = Field(default=50_000, ge=1, le=100_000_000)
    """Most requests in one batch (OpenAI's limit)."""

    at_once: int = Field(default=8, ge=1, le=1000)
    """Batches that one batcher runs at the same time."""

    window: int = Field(default=2000, ge=1, le=1_000_000)
    """Lines of a batch that are queued or running at a time."""

    ttl_s: int = Field(default=30 * DAY_S, ge=3600, le=366 * DAY_S)
    """How long a batch can be read after it has ended, in seconds."""

    lease_s: float = Field(default=30.0, ge=0.2, le=3600)
    """How long a batch stays with a silent batcher, in seconds: the wait for another one after a crash."""
