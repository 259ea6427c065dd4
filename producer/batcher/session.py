"""A session: one batcher's work on one batch, from wherever it was left to its end, or until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from producer.batch.client import BatchClient
from producer.batch.feeder import Feed, LeftOut
from producer.batch.gate import Gate
from producer.batch.ledger import Ledger
from producer.batch.leftovers import Leftovers
from producer.batch.lines import RawLine, read_lines
from producer.batch.reader import Reader
from producer.batch.spending import Funds, Spending
from producer.batch.tally import Tally
from producer.batch.work import Work
from producer.batcher.lines import BatchLines
from producer.batcher.purse import Purse
from producer.batcher.records import CANCELLED, EXPIRED, LineRecords
from producer.batcher.results import compact, result_id, running_file
from producer.batcher.segments import LeaseLost, SegmentOutput, recorded
from producer.batcher.validation import Error, Found, check_with, error, validate
from producer.files.blobs import BlobReader, Blobs
from shared.background import end_tasks
from shared.errors import BlobMissing, StoreUnavailable
from shared.job import Lane
from shared.routing import Router
from shared.settings import Settings
from shared.store.batch_record import Batch, Progress, Status
from shared.store.batches import BatchStore, Held, Lease
from shared.store.files import FileStore

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Between two looks at whether the batch was cancelled or its time is over; a short lease asks for more."""

ESCAPES = 3
"""A request written in ASCII is up to three times its size in UTF-8, which is what the body limit is for."""

_TEXTS = {
    CANCELLED: "the batch was cancelled before this line was answered",
    EXPIRED: "the batch's completion window was over before this line was answered",
}

_GONE = "the content of the input file, or a part of the results, is gone from the file store"


class BatcherClient(BatchClient, Protocol):
    """See `producer.client.Producer`."""

    @property
    def router(self) -> Router:
        """What names lead to."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What sessions work with."""

    client: BatcherClient
    settings: Settings
    blobs: Blobs
    files: FileStore
    batches: BatchStore
    purse: Purse


class Session:
    """Works on one batch."""

    def __init__(self, tools: Tools, batch: Batch, lease: Lease) -> None:
        self._tools = tools
        self._batch = batch
        self._lease = lease
        self._records = LineRecords(batch.id.removeprefix("batch_"))
        self._progress = batch.progress
        self._is_stopped = False
        self._left_out = ""
        self._deadline = float("inf")
        self._held_until = 0.0
        self._work: Work | None = None

    def stop(self) -> None:
        """Record what has ended by now and return; the next session goes on."""
        self._is_stopped = True
        if self._work is not None:
            self._work.finish()

    async def run(self) -> bool:
        """Work; returns whether the batch is over. If not, the lease is still held.

        Raises:
            LeaseLost: It is another batcher's.
            StoreError, FilesUnavailable: Redis or the file store is away; another session goes on later.
        """
        await self._renew()
        looking = asyncio.create_task(self._look(), name=f"look-{self._batch.id}")
        working = asyncio.create_task(self._run(), name=f"work-{self._batch.id}")
        try:
            await asyncio.wait((looking, working), return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                self.stop()
                await asyncio.wait((working,))
                looking.result()
            return await working
        finally:
            await end_tasks(looking, working)

    async def _look(self) -> None:
        """Keep the lease, and see when the batch is to end; returns never."""
        every_s = min(LOOK_S, self._tools.settings.batches.lease_s / 4)
        while True:
            left_s = self._deadline - time.monotonic()
            await asyncio.sleep(min(every_s, left_s) if left_s > 0 else every_s)
            if time.monotonic() >= self._deadline:
                self._leave_out(EXPIRED)
            try:
                await self._renew()
            except StoreUnavailable as exc:
                log.warning("%s: %s", self._batch.id, exc)

    async def _renew(self) -> None:
        asked_at = time.monotonic()
        self._heed(await self._lease.renew())
        self._held_until = asked_at + self._tools.settings.batches.lease_s

    def _heed(self, held: Held) -> None:
        if not held.is_held:
            raise LeaseLost(f"{self._batch.id} is another batcher's")
        self._deadline = time.monotonic() + held.left_s
        if held.status == "cancelling":
            self._leave_out(CANCELLED)
        elif held.left_s <= 0:
            self._leave_out(EXPIRED)

    def _leave_out(self, code: str) -> None:
        if self._left_out:
            return
        self._left_out = code
        self._records.is_expiring = code == EXPIRED
        if self._work is not None:
            self._work.leave_out(self._why(code))

    def _why(self, code: str) -> LeftOut:
        return LeftOut(code, _TEXTS[code], Leftovers(self._tools.client, has_cancelled=False))

    async def _run(self) -> bool:
        batch, batches = self._batch, self._tools.batches
        try:
            if not batch.output_file_id and not await self._begin():
                return not self._is_stopped
            segments = await batches.segments(batch.id)
            output = SegmentOutput(
                self._tools.blobs, self._lease, self._records, self._progress, Tally(), there=len(segments)
            )
            with closing(Ledger()) as ledger:
                await asyncio.to_thread(self._note_recorded, ledger, [one.blob for one in segments])
                if not await self._work_through(ledger, output):
                    return False
            await self._conclude(output.progress)
        except BlobMissing:  # no other session would find it
            log.error("%s: the file store has lost a part of it", batch.id)
            await self._refuse([error("content_missing", _GONE)])
        return True

    async def _begin(self) -> bool:
        """Validate, and make the batch run; False when it is refused, or there was no time to find out."""
        found = await asyncio.to_thread(self._validate)
        if self._is_stopped:
            return False
        if found.errors:
            await self._refuse(found.errors)
            return False
        batch, ttl_s = self._batch, self._tools.settings.files.ttl_s
        for kind in ("o", "e"):
            await self._tools.files.create(running_file(batch, kind, ttl_s=ttl_s), is_listed=False)
        self._progress = replace(self._progress, total=found.total, model=found.model)
        self._heed(
            await self._lease.renew(
                status="in_progress",
                progress=self._progress,
                files=(result_id(batch, "o"), result_id(batch, "e")),
            )
        )
        log.info("%s: %d lines for %s", batch.id, found.total, batch.spec.endpoint)
        return True

    def _validate(self) -> Found:
        spec = self._batch.spec
        check = check_with(self._tools.client.router, spec.models)
        with self._tools.blobs.open(spec.input_blob) as file:
            return validate(
                self._unless_stopped(self._raw_lines(file)), spec.endpoint, check,
                max_lines=self._tools.settings.batches.max_lines,
            )  # fmt: skip

    def _unless_stopped(self, lines: Iterable[RawLine]) -> Iterator[RawLine]:
        for line in lines:
            if self._is_stopped:
                return
            yield line

    def _raw_lines(self, file: BlobReader) -> Iterator[RawLine]:
        """The lines of the input that are this batch's."""
        lines = read_lines(file, max_bytes=ESCAPES * self._tools.settings.jobs.max_body_bytes)
        only = self._batch.spec.only_blob
        if not only:
            return lines
        numbers = {head.number for head in recorded(self._tools.blobs, [only])}
        return (line for line in lines if line.number in numbers)

    def _note_recorded(self, ledger: Ledger, names: list[str]) -> None:
        ledger.note_recorded((head.number, head.custom_id) for head in recorded(self._tools.blobs, names))

    async def _work_through(self, ledger: Ledger, output: SegmentOutput) -> bool:
        batch, settings = self._batch, self._tools.settings
        feed = Feed(batch.id, Lane(batch.spec.lane), batch.client, self._left_s, has_fixed_input=True)
        funds = await self._tools.purse.open(batch)
        work = self._work = Work(
            self._tools.client, output, output.tally, feed,
            window=settings.batches.window, retry_s=settings.redis.retry_s,
            spending=None if funds is None else _spending(funds, feed),
            leftovers=None if funds is None else Leftovers(self._tools.client, has_cancelled=True),
        )  # fmt: skip
        if self._left_out:
            work.leave_out(self._why(self._left_out))
        if self._is_stopped:
            return False
        with self._tools.blobs.open(batch.spec.input_blob) as file:
            lines = await asyncio.to_thread(self._raw_lines, file)
            return await work.run(Reader(lines, ledger, BatchLines(batch.spec.endpoint)))

    def _left_s(self) -> float:
        """Seconds until the deadline, for a line that is about to be submitted.

        Raises:
            LeaseLost: So long after the last renewal another batcher may be at it. What it has recorded and dropped
                from Redis would be asked a second time.
        """
        if time.monotonic() > self._held_until:
            raise LeaseLost(f"{self._batch.id} was not renewed in time: whoever has it goes on")
        return max(0.001, self._deadline - time.monotonic())

    async def _conclude(self, progress: Progress) -> None:
        """Write the result files, and end the batch."""
        batch, lease = self._batch, self._lease
        held = await lease.renew(status="finalizing")
        if not held.is_held:
            raise LeaseLost(f"{batch.id} is another batcher's")
        segments = await self._tools.batches.segments(batch.id)
        output = await compact(self._tools.blobs, batch, segments, "o")
        failures = await compact(self._tools.blobs, batch, segments, "e") if progress.failed else None
        status: Status = "expired" if EXPIRED in progress.errors else "completed"
        held = await lease.finish(
            status, batch.spec, ttl_s=self._tools.settings.batches.ttl_s, output=output, failures=failures,
            dropped=() if failures else (result_id(batch, "e"),), progress=replace(progress, rate_per_s=0.0),
        )  # fmt: skip
        if not held.is_held:
            raise LeaseLost(f"{batch.id} is another batcher's")
        log.info("%s: %s, %d answered, %d failed", batch.id, held.status, progress.completed, progress.failed)

    async def _refuse(self, errors: list[Error]) -> None:
        held = await self._lease.finish(
            "failed", self._batch.spec, ttl_s=self._tools.settings.batches.ttl_s, errors=errors,
            dropped=(result_id(self._batch, "o"), result_id(self._batch, "e")),
        )  # fmt: skip
        log.info("%s: %s, the input has %d errors", self._batch.id, held.status, len(errors))


def _spending(funds: Funds, feed: Feed) -> Spending:
    gate = Gate(
        funds.budget, funds.estimator, submission=feed.submission, job_id=feed.job_id,
        advice="retry the failed lines when there is money",
    )  # fmt: skip
    return Spending(gate, set())
