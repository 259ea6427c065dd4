"""Deltas of streamed answers on their way into the store: group commit, one write in flight a process.

A piece goes at once when nothing is on its way; what comes meanwhile goes with the next write. While Redis is away
pieces gather up to a bound; what is over it is dropped, with all that follows in that answer, and whoever follows
gets the rest when the whole answer is there. That one never depends on its pieces.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import orjson

from shared.answer_pieces import Choice, Told
from shared.errors import StoreError, StoreUnavailable
from shared.store.connect import Store
from shared.store.deltas import GROUP, MAX_BYTES, Append, append_deltas
from shared.store.grants import Grant

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Most bytes of pieces that a process holds for Redis."""

PIECES = 32
"""Most pieces of one answer in a write: with `GROUP` answers some 5 ms of Redis, at the most."""

RETRY_S = 0.5
"""How long one try to write may take before it is made again."""

FLUSH_S = 1.0
"""How long an answer that is whole waits for its last pieces to be written, at the most."""


class DeltaSink:
    """Takes the pieces of one attempt's answer."""

    def __init__(self, writer: DeltaWriter, grant: Grant) -> None:
        self._writer = writer
        self._grant = grant
        self._told = Told()
        self._pieces: list[bytes] = []
        self._written = 0
        self._size = 0
        self._is_open = True
        self._is_flushed = asyncio.Event()
        self.has_begun = False
        """A piece was sent to the store, so it may be out."""

    def put(self, choices: list[Choice]) -> None:
        """Take a piece; it is numbered, given its role, and written soon. Never raises."""
        if not self._is_open:
            return
        self._told.add(choices)
        try:
            piece = orjson.dumps(choices)
        except TypeError:  # nested deeper than can be written
            self._is_open = False
            return
        self._size += len(piece)
        if self._size > MAX_BYTES or not self._writer.takes(len(piece)):
            self._is_open = False  # what is written stays the beginning, without a gap
            return
        self._pieces.append(piece)
        self._writer.wake(self)

    async def finish(self, response: dict[str, Any]) -> None:
        """Take the whole answer: what no piece said, and why it finished. Returns when all is written, or soon.

        An answer that came in one piece has no deltas.
        """
        if self._written or self._pieces:
            if rest := self._told.rest(response):
                self.put(rest)
            try:
                async with asyncio.timeout(FLUSH_S):
                    await self._until_flushed()
            except TimeoutError:
                log.warning("job %s: its last deltas are not written in time", self._grant.job_id)
        self.close()

    def close(self) -> bool:
        """Take nothing more, and drop what was not sent. Returns whether a piece may be out."""
        self._is_open = False
        self.drop()
        return self.has_begun

    async def _until_flushed(self) -> None:
        while self._pieces:
            self._is_flushed.clear()
            await self._is_flushed.wait()

    # -- the writer's side ------------------------------------------------------------------------

    def next(self) -> Append | None:
        """The pieces that are next, if any wait."""
        if not self._pieces:
            return None
        self.has_begun = True
        return Append(self._grant.job_id, self._grant.token, self._written + 1, self._pieces[:PIECES])

    def written(self, count: int) -> None:
        """So many of the next pieces are in."""
        self._writer.left(self._pieces[:count])
        del self._pieces[:count]
        self._written += count
        if self._pieces:
            self._writer.wake(self)
        else:
            self._is_flushed.set()

    def drop(self) -> None:
        """These pieces will not be written, nor any after them."""
        self._is_open = False
        self._writer.left(self._pieces)
        self._pieces = []
        self._is_flushed.set()


class DeltaWriter:
    """Writes the pieces of all answers of this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._with_news: dict[DeltaSink, None] = {}
        self._waiting_bytes = 0
        self._writing: asyncio.Task[None] | None = None

    def open(self, grant: Grant) -> DeltaSink:
        """A sink for the attempt that a grant is for."""
        return DeltaSink(self, grant)

    def takes(self, size: int) -> bool:
        """Whether there is room for so many more bytes; if so, they are counted."""
        if self._waiting_bytes + size > MAX_WAITING_BYTES:
            return False
        self._waiting_bytes += size
        return True

    def left(self, pieces: Sequence[bytes]) -> None:
        """These pieces wait no longer."""
        self._waiting_bytes -= sum(map(len, pieces))

    def wake(self, sink: DeltaSink) -> None:
        """A sink has pieces to write."""
        self._with_news[sink] = None
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="delta-writer")

    async def close(self) -> None:
        """Wait for the write in flight; every attempt has ended by now."""
        if self._writing is not None:
            await asyncio.wait((self._writing,), timeout=FLUSH_S)

    async def _write(self) -> None:
        try:
            while self._with_news:
                sinks = list(self._with_news)[:GROUP]
                for sink in sinks:
                    del self._with_news[sink]
                if group := [(sink, one) for sink in sinks if (one := sink.next()) is not None]:
                    await self._append(group)
        finally:
            self._writing = None

    async def _append(self, group: Sequence[tuple[DeltaSink, Append]]) -> None:
        try:
            is_in = await append_deltas(self._store, [one for _, one in group], retry_s=RETRY_S)
        except StoreUnavailable as exc:
            log.warning("deltas of %d answers wait for Redis: %s", len(group), exc)
            for sink, _ in group:
                self._with_news[sink] = None
            await asyncio.sleep(RETRY_S)
            return
        except StoreError as exc:
            log.warning("deltas of %d answers are dropped: %s", len(group), exc)
            is_in = [False] * len(group)
        for (sink, one), went_in in zip(group, is_in, strict=True):
            if went_in:
                sink.written(len(one.deltas))
            else:
                sink.drop()
