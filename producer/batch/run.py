"""One run of `chatq run`: every line of the input stands in one of the two files in the end."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from producer.batch.books import Books
from producer.batch.client import BatchClient
from producer.batch.feeder import Feed
from producer.batch.gate import Gate
from producer.batch.leftovers import Leftovers
from producer.batch.lines import STDIN, count_lines, open_input, read_lines
from producer.batch.output import FileOutput
from producer.batch.reader import Reader, RunLines
from producer.batch.spending import Funds, Spending
from producer.batch.tally import Tally
from producer.batch.work import Work
from shared.job import Lane


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
        feed = Feed(books.run, plan.lane, books.client)
        self._work = Work(
            client, FileOutput(books.files, books.run), tally, feed, window=plan.window, retry_s=plan.retry_s,
            spending=self._spending(feed), leftovers=self._leftovers(), note_cancelling=books.note_cancelling,
        )  # fmt: skip

    @property
    def models(self) -> frozenset[str]:
        """Models that lines asked for so far."""
        return self._work.models

    def stop_feeding(self) -> None:
        """Submit nothing more; go on collecting what is in flight."""
        self._work.stop_feeding()

    def finish(self) -> None:
        """Record what has ended by now and return; the rest stays in Redis for the next run."""
        self._work.finish()

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
        plan = self._plan
        with open_input(plan.source) as file:
            lines = read_lines(file, max_bytes=plan.max_line_bytes)
            reader = Reader(lines, self._books.ledger, RunLines(plan.model, plan.fallbacks, plan.tags))
            self._start_count()
            try:
                is_read = await self._work.run(reader)
            finally:
                self._books.has_begun = self._books.has_begun or self._work.has_submitted
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
