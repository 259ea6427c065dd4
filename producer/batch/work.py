"""The work on the lines of a batch: feed, collect, record, until each has its outcome or somebody says stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from producer.batch.client import BatchClient, BatchWatch
from producer.batch.collector import Collector
from producer.batch.feeder import Feed, Feeder, LeftOut
from producer.batch.guard import Guard
from producer.batch.leftovers import Leftovers
from producer.batch.outcome import Output
from producer.batch.reader import BadLine, Line
from producer.batch.recorder import Recorder
from producer.batch.source import Source
from producer.batch.spending import Spending
from producer.batch.tally import Tally
from producer.batch.window import Window
from shared.background import end_tasks
from shared.errors import StoreError

GROUP_LINES = 256
"""Most lines submitted at once."""

CANCEL_S = 1.0
"""Between two rounds of cancelling what is in flight: a round may meet a Redis that is away."""

FINISH_S = 5.0
"""How long jobs that end one after the other are still collected when the session is to finish."""


class Work:
    """Works through lines once. Interrupted at any point, the next one goes on with what is not recorded.

    Args:
        window: Most lines between input and output at a time, in Redis or waiting to be recorded.
        retry_s: How long an unreachable Redis is borne.
        spending: What keeps it within a budget; None = there is none.
        leftovers: Tells lines that became jobs in an earlier session, where that matters.
        note_cancelling: Told before the first job is cancelled for want of money.
    """

    def __init__(
        self,
        client: BatchClient,
        output: Output,
        tally: Tally,
        feed: Feed,
        *,
        window: int,
        retry_s: float,
        spending: Spending | None = None,
        leftovers: Leftovers | None = None,
        note_cancelling: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._tally = tally
        self._feed = feed
        self._window = Window(window)
        self._recorder = Recorder(output, client, self._window, tally)
        self._retry_s = retry_s
        self._spending = spending
        self._leftovers = leftovers
        self._note_cancelling = note_cancelling
        self._is_stopped = False
        self._is_finishing = False
        self._left_out: LeftOut | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._feeder: Feeder | None = None

    @property
    def models(self) -> frozenset[str]:
        """Models that lines asked for so far."""
        return frozenset(self._feeder.models if self._feeder else ())

    @property
    def has_submitted(self) -> bool:
        """Whether anything of this session may be in Redis."""
        return self._feeder is not None and self._feeder.has_submitted

    def stop_feeding(self) -> None:
        """Submit nothing more; go on collecting what is in flight."""
        self._is_stopped = True
        if self._feeding is not None:
            self._feeding.cancel()

    def finish(self) -> None:
        """Record what has ended by now and return; the rest stays in Redis for the next session."""
        self.stop_feeding()
        self._is_finishing = True

    def leave_out(self, why: LeftOut) -> None:
        """Submit nothing more, end what is in flight, and record the lines that are left as not run."""
        self._left_out = why
        if self._feeder is not None:
            self._feeder.left_out = why

    async def run(self, lines: Iterable[Line | BadLine]) -> bool:
        """Work; returns whether every line was dealt with.

        Raises:
            BatchRefused: The input does not belong to this output, or the output cannot be written.
            StoreUnavailable: Redis is gone; another session goes on later.
            FilesUnavailable, LeaseLost: As `Output.append`.
        """
        source = Source(lines, group_lines=max(1, min(GROUP_LINES, self._window.size // 4)))
        try:
            async with self._client.watch() as watch:
                feeder = self._feeder = Feeder(
                    source, watch, self._recorder, self._window, self._tally, feed=self._feed,
                    gate=self._spending.gate if self._spending else None, leftovers=self._leftovers,
                )  # fmt: skip
                feeder.left_out = self._left_out
                source.start()
                await self._work(feeder, watch)
        finally:
            source.close()
        return not self._is_stopped and not feeder.in_flight

    async def _work(self, feeder: Feeder, watch: BatchWatch) -> None:
        collector = Collector(
            self._client, watch, self._recorder, self._tally, feeder.in_flight,
            retry_s=self._retry_s, spending=self._spending,
        )  # fmt: skip
        self._feeding = asyncio.create_task(feeder.run(), name="feeder")
        recording = asyncio.create_task(self._recorder.run(), name="recorder")
        helping = [asyncio.create_task(self._cancel_left_out(feeder), name="canceller")]
        if self._spending is not None:
            guard = Guard(
                self._spending, self._client, feeder.in_flight, note_cancelling=self._note_cancelling
            )
            helping.append(asyncio.create_task(guard.run(), name="guard"))
        if self._is_stopped:  # told so before there was anything to stop
            self._feeding.cancel()
        is_redis_there = True
        try:
            await self._collect(self._feeding, recording, feeder, collector)
        except StoreError:
            is_redis_there = False
            raise
        finally:
            await end_tasks(self._feeding, recording, *helping)
            await self._recorder.flush(is_dropping=is_redis_there)

    async def _cancel_left_out(self, feeder: Feeder) -> None:
        """End what is in flight once nothing more is to be run; again and again, for what is adopted meanwhile."""
        while True:
            if self._left_out is not None and feeder.in_flight:
                with suppress(StoreError):
                    await self._client.cancel_many(list(feeder.in_flight))
            await asyncio.sleep(CANCEL_S)

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
        give_up_at = time.monotonic() + FINISH_S
        while await collector.collect() and time.monotonic() < give_up_at:
            continue
