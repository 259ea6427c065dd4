"""One run of a batch: feed, collect, record, until every line of the input stands in one of the two files."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path

from producer.batch.books import Books
from producer.batch.client import BatchClient, BatchWatch
from producer.batch.collector import Collector
from producer.batch.feeder import Feed, Feeder
from producer.batch.gate import Gate
from producer.batch.guard import Guard
from producer.batch.leftovers import Leftovers
from producer.batch.lines import STDIN, count_lines, open_input, read_lines
from producer.batch.reader import Reader
from producer.batch.recorder import Recorder
from producer.batch.source import Source
from producer.batch.spending import Funds, Spending
from producer.batch.tally import Tally
from producer.batch.window import Window
from shared.errors import StoreError
from shared.job import Lane

GROUP_LINES = 256
"""Most lines submitted at once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, and how.

    Attributes:
        source: The input; `-` is standard input.
        model: For lines that name none.
        window: Most lines between input and output at a time, in Redis or waiting to be written.
        fallbacks: Models to go on with, for lines that state none.
        tags: What the rules of groups may ask for, for lines that state none.
        max_line_bytes: A longer line is refused without being kept.
        retry_s: How long an unreachable Redis is borne.
    """

    source: Path
    model: str | None
    lane: Lane
    window: int
    max_line_bytes: int
    retry_s: float
    fallbacks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class BatchRun:
    """Runs a batch once. Interrupted at any point, the next run with the same books goes on where this one was.

    Args:
        funds: What it may spend; None = there is no limit.
    """

    def __init__(
        self,
        client: BatchClient,
        books: Books,
        tally: Tally,
        plan: Plan,
        *,
        funds: Funds | None = None,
    ) -> None:
        self._client = client
        self._books = books
        self._tally = tally
        self._plan = plan
        self._funds = funds
        self._is_stopped = False
        self._is_finishing = False
        self._feeding: asyncio.Task[None] | None = None
        self._feeder: Feeder | None = None

    @property
    def models(self) -> frozenset[str]:
        """Models that lines asked for so far."""
        return frozenset(self._feeder.models if self._feeder else ())

    def stop_feeding(self) -> None:
        """Submit nothing more; go on collecting what is in flight."""
        self._is_stopped = True
        if self._feeding is not None:
            self._feeding.cancel()

    def finish(self) -> None:
        """Record what has ended by now and return; the rest stays in Redis for the next run."""
        self.stop_feeding()
        self._is_finishing = True

    async def run(self) -> bool:
        """Run to the end, until told to finish, or until the money is spent. Returns whether every line was asked.

        Raises:
            BatchRefused: The input does not belong to this output, or the output cannot be written.
            StoreUnavailable: Redis is gone; the same command goes on later.
        """
        await self._books.cancel_abandoned(self._client, self._tally)
        await self._books.reopen_failed(self._client)
        if self._funds is not None:
            await self._funds.budget.look_at_client()
        file = open_input(self._plan.source)
        lines = read_lines(file, max_bytes=self._plan.max_line_bytes)
        plan = self._plan
        reader = Reader(lines, self._books.ledger, model=plan.model, fallbacks=plan.fallbacks, tags=plan.tags)
        window = Window(self._plan.window)
        source = Source(reader, group_lines=max(1, min(GROUP_LINES, window.size // 4)))
        recorder = Recorder(self._books.files, self._client, window, self._tally, run=self._books.run)
        try:
            async with self._client.watch() as watch:
                feed = Feed(self._books.run, self._plan.lane, self._books.client)
                spending = self._spending(feed)
                feeder = self._feeder = Feeder(
                    source, watch, recorder, window, self._tally,
                    feed=feed, gate=spending.gate if spending else None, leftovers=self._leftovers(),
                )  # fmt: skip
                source.start()
                self._start_count()
                await self._work(feeder, recorder, watch, spending)
        finally:
            source.close()
            file.close()
        is_read = not self._is_stopped and not feeder.in_flight
        if is_read:
            self._tally.total = reader.count
        self._books.is_complete = is_read and not self._tally.not_asked
        return self._books.is_complete

    def _spending(self, feed: Feed) -> Spending | None:
        if self._funds is None:
            return None
        gate = Gate(self._funds.budget, self._funds.estimator, submission=feed.submission, job_id=feed.job_id)
        return Spending(gate, set())

    def _leftovers(self) -> Leftovers | None:
        has_cancelled = self._books.has_cancelled
        if self._books.is_resumed and (self._funds is not None or has_cancelled):
            return Leftovers(self._client, has_cancelled=has_cancelled)
        return None

    def _start_count(self) -> None:
        # A pipe would lose what is counted.
        if self._plan.source != STDIN and self._plan.source.is_file():
            threading.Thread(target=self._count, name="chatq-count", daemon=True).start()

    def _count(self) -> None:
        count = count_lines(self._plan.source)
        if self._tally.total is None:
            self._tally.total = count

    async def _work(
        self, feeder: Feeder, recorder: Recorder, watch: BatchWatch, spending: Spending | None
    ) -> None:
        collector = Collector(
            self._client, watch, recorder, self._tally, feeder.in_flight,
            retry_s=self._plan.retry_s, spending=spending,
        )  # fmt: skip
        self._feeding = asyncio.create_task(feeder.run(), name="feeder")
        recording = asyncio.create_task(recorder.run(), name="recorder")
        guarding = asyncio.create_task(self._guard(feeder, spending), name="guard")
        if self._is_stopped:  # told so before there was anything to stop
            self._feeding.cancel()
        is_redis_there = True
        try:
            await self._collect(self._feeding, recording, feeder, collector)
        except StoreError:
            is_redis_there = False
            raise
        finally:
            for task in (self._feeding, recording, guarding):
                task.cancel()
            await asyncio.gather(self._feeding, recording, guarding, return_exceptions=True)
            self._books.has_begun = self._books.has_begun or feeder.has_submitted
            await recorder.flush(is_dropping=is_redis_there)

    async def _guard(self, feeder: Feeder, spending: Spending | None) -> None:
        if spending is not None:
            guard = Guard(
                spending, self._client, feeder.in_flight, note_cancelling=self._books.note_cancelling
            )
            await guard.run()

    async def _collect(
        self,
        feeding: asyncio.Task[None],
        recording: asyncio.Task[None],
        feeder: Feeder,
        collector: Collector,
    ) -> None:
        while not self._is_finishing:
            if recording.done():
                recording.result()
            if feeding.done():
                if not feeding.cancelled():
                    feeding.result()
                if not feeder.in_flight:
                    return
            if not await collector.collect() and feeder.is_settled:
                collector.give_up_lost()
        while await collector.collect():
            continue
