"""Batches as Redis knows them: what was asked for, how far it came, and which batcher has it.

A batch is leased to one batcher at a time. Whatever that one says of it is fenced by the lease's token, so that a
batcher that was silent for too long cannot spoil the work of the one that took over. What has been recorded is what
stands in the list of segments: a blob that is not in it counts as never written.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from shared.errors import IdempotencyConflict
from shared.store import keys
from shared.store.batch_record import (
    Batch,
    Progress,
    Segment,
    Spec,
    Status,
    digest_of,
    read_batch,
    read_segment,
    spec_fields,
)
from shared.store.connect import Store
from shared.store.files import FileRecord
from shared.store.pages import Page, read_page
from shared.store.pipe import Arg
from shared.store.replies import replies_of, reply_of

BATCH_ID = re.compile(r"batch_[0-9a-f]{32}")


class Held(NamedTuple):
    """What a batcher learns when it says something of its batch.

    Attributes:
        is_held: False: the lease is another batcher's now, or the batch is over; nothing was written.
        left_s: Seconds until the deadline; negative when it has passed.
    """

    is_held: bool
    status: str
    left_s: float


class BatchStore:
    """Access to batches. All calls are safe to repeat."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, batch_id: str, client: str, spec: Spec, *, ttl_s: int) -> bool:
        """Accept a batch; False when its input file is gone. One that is there already stays.

        Raises:
            IdempotencyConflict: Another batch has this id.
            StoreFull: Redis is at maxmemory.
            StoreUnavailable: Unknown outcome; create it again.
        """
        text = orjson.dumps(spec_fields(spec), option=orjson.OPT_SORT_KEYS)
        digest = digest_of(spec)
        args: list[Arg] = [
            batch_id,
            client,
            digest,
            text,
            spec.window_s,
            ttl_s,
            spec.input_file_id,
            *spec.blobs,
        ]
        word, *rest = await self._store.run("create_batch", args)
        if rest and rest[0] != digest:
            raise IdempotencyConflict(
                f"the idempotency key belongs to {batch_id}, which was made with another body",
                job_id=batch_id,
            )
        return bool(word != b"no_file")

    async def get(self, batch_id: str) -> Batch | None:
        """A batch; None when there is none.

        Raises:
            StoreError: No answer from Redis.
        """
        (found,) = await self._get_many([batch_id])
        return found

    async def page(self, client: str, *, after: str | None, limit: int) -> Page[Batch] | None:
        """Some of a client's batches, newest first; None when `after` is none of them.

        Raises:
            StoreError: No answer from Redis.
        """
        return await read_page(self._store, keys.batches(client), self._get_many, after=after, limit=limit)

    async def cancel(self, batch_id: str) -> None:
        """Ask for the end of a batch; one that has ended stays as it is.

        Raises:
            StoreUnavailable: Unknown outcome; cancel it again.
        """
        await self._store.run("cancel_batch", [batch_id])

    async def claim(self, *, lease_s: float) -> tuple[str, str] | None:
        """Take a batch that nobody works on; returns its id and the token of the lease.

        Raises:
            StoreUnavailable: No answer; what was taken is free again when the lease is over.
        """
        token = secrets.token_hex(8)
        batch_id = (await self._store.run("claim_batch", [token, _ms(lease_s)])).decode()
        return (batch_id, token) if batch_id else None

    async def open_ids(self) -> set[str]:
        """Batches that have not ended.

        Raises:
            StoreError: No answer from Redis.
        """
        found = await reply_of(self._store.client.zrange(keys.BATCHES_OPEN, 0, -1), [])
        return {one.decode(errors="replace") for one in found}

    async def segments(self, batch_id: str) -> list[Segment]:
        """What an open batch has recorded, in order.

        Raises:
            StoreError: No answer from Redis.
        """
        texts = await reply_of(self._store.client.lrange(keys.batch_segments(batch_id), 0, -1), [])
        return [read_segment(text) for text in texts]

    async def _get_many(self, batch_ids: Sequence[str]) -> list[Batch | None]:
        known = [one for one in batch_ids if BATCH_ID.fullmatch(one)]
        async with self._store.client.pipeline(transaction=False) as pipe:
            for batch_id in known:
                pipe.hgetall(keys.batch(batch_id))
            hashes = dict(zip(known, await replies_of(pipe), strict=True)) if known else {}
        return [read_batch(one, hashes.get(one)) for one in batch_ids]


class Lease:
    """One batcher's hold on one batch: what it says through this is refused once another one has it."""

    def __init__(self, store: Store, batch_id: str, token: str, *, lease_s: float) -> None:
        self.batch_id = batch_id
        self._store = store
        self._token = token
        self._lease_ms = _ms(lease_s)

    async def renew(
        self,
        *,
        status: Status | None = None,
        progress: Progress | None = None,
        there: int = 0,
        segments: Sequence[Segment] = (),
        files: tuple[str, str] | None = None,
    ) -> Held:
        """Keep the lease, and say how far the batch came.

        Args:
            there: Segments that are known to be there; new ones come behind these.
            files: Ids of the output and the error file.

        Raises:
            StoreUnavailable: Unknown outcome; say the same again.
        """
        fields: list[Arg] = []
        if progress is not None:
            fields += ["progress", progress.encode()]
        if files is not None:
            fields += ["output_file_id", files[0], "error_file_id", files[1]]
        texts = [f"{kind} {size} {blob}" for kind, size, blob in segments]
        return await self._say([self._lease_ms, 0, status or "", there, len(texts), *texts, *fields])

    async def give_back(self, *, pause_s: float = 0.0) -> None:
        """End the lease; another batcher may take the batch, at once or after a pause.

        Raises:
            StoreUnavailable: No answer; the lease runs out by itself.
        """
        await self._say([0, _ms(pause_s), "", 0, 0])

    async def finish(
        self,
        status: Status,
        spec: Spec,
        *,
        ttl_s: int,
        output: FileRecord | None = None,
        failures: FileRecord | None = None,
        dropped: Sequence[str] = (),
        errors: Sequence[Mapping[str, Any]] = (),
        progress: Progress | None = None,
    ) -> Held:
        """End the batch. One that was cancelled meanwhile ends as that, unless its input was refused.

        Args:
            output: The file of answers.
            failures: The file of lines without one.
            dropped: Ids of result files that there are none of after all.
            errors: Why the input was refused as a whole.

        Raises:
            StoreUnavailable: Unknown outcome; finish it again.
        """
        fields: list[Arg] = ["output_file_id", output.id if output else ""]
        fields += ["error_file_id", failures.id if failures else ""]
        if errors:
            fields += ["errors", orjson.dumps(list(errors))]
        if progress is not None:
            fields += ["progress", progress.encode()]
        files = [one for one in (output, failures) if one is not None]
        entries: list[Arg] = [word for one in files for word in (one.id, one.encode(), one.expires_at)]
        entries += [word for file_id in dropped for word in (file_id, "", 0)]
        args = [self.batch_id, self._token, status, ttl_s, len(entries) // 3, *entries]
        args += [len(spec.blobs), *spec.blobs, *fields]
        held, word = await self._store.run("finish_batch", args)
        return Held(bool(held), word.decode(errors="replace"), 0.0)

    async def _say(self, words: Sequence[Arg]) -> Held:
        held, status, left_ms = await self._store.run("update_batch", [self.batch_id, self._token, *words])
        return Held(bool(held), status.decode(errors="replace"), left_ms / 1000)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
