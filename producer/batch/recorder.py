"""The recorder: outcomes become lasting in groups, and only then leave Redis and the window.

Group commit: what comes while one group is being written goes into the next; a slow disk makes larger groups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from producer.batch.client import BatchClient
from producer.batch.line_cost import LineCost
from producer.batch.outcome import Ended, LineRef, Outcome, Output
from producer.batch.reader import BadLine
from producer.batch.tally import Tally
from producer.batch.window import Window
from shared.job import Job


class Recorder:
    """Takes outcomes; `run` writes them.

    Args:
        output: Where they are recorded.
    """

    def __init__(self, output: Output, client: BatchClient, window: Window, tally: Tally) -> None:
        self._output = output
        self._client = client
        self._window = window
        self._tally = tally
        self._waiting: list[Outcome] = []
        self._has_some = asyncio.Event()
        self._has_many = asyncio.Event()
        self._writing = asyncio.Lock()
        self._is_broken = False

    def take_job(self, line: LineRef, job: Job, cost: LineCost) -> None:
        """Record a job that has ended."""
        self._take(Ended(line, job, cost))

    def take_bad_line(self, line: BadLine) -> None:
        """Record a line that became no job."""
        self._take(line)

    async def run(self) -> None:
        """Write groups for ever; cancel it, then `flush`.

        Raises:
            BatchRefused, FilesUnavailable, LeaseLost: As `Output.append`. What was not written is still in Redis.
            StoreUnavailable: What is recorded could not be dropped from Redis, where it will expire.
        """
        while True:
            await self._has_some.wait()
            await self._wait_for_others()
            # Shielded: a group is written and dropped as a whole, whoever cancels in between.
            await asyncio.shield(asyncio.create_task(self.flush(is_dropping=True)))

    async def flush(self, *, is_dropping: bool) -> None:
        """Write what waits.

        Args:
            is_dropping: Also drop the jobs from Redis; not when it has just failed.
        """
        async with self._writing:
            self._has_some.clear()
            self._has_many.clear()
            group, self._waiting = self._waiting, []
            # After a failed write the output may end in a torn line: nothing may follow it.
            if group and not self._is_broken:
                await self._write(group)
                if is_dropping:
                    await self._client.forget([one.job.id for one in group if isinstance(one, Ended)])

    def _take(self, one: Outcome) -> None:
        self._waiting.append(one)
        self._has_some.set()
        if len(self._waiting) * 4 >= self._window.size:
            self._has_many.set()

    async def _wait_for_others(self) -> None:
        """As long as the output wants, unless so many are there that the feeder may wait for their slots."""
        if not self._output.pause_s:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._output.pause_s):
                await self._has_many.wait()

    async def _write(self, group: Sequence[Outcome]) -> None:
        try:
            await self._output.append(group)
        except Exception:
            self._is_broken = True
            raise
        for one in group:
            if isinstance(one, Ended):
                self._tally.add_job(one.job, one.cost)
            else:
                self._tally.add_bad_line(one.code)
        self._window.release(len(group))
