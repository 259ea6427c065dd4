"""The recorder: outcomes reach the disk in groups, and only then leave Redis and the window.

Group commit: what comes while one group is being written goes into the next; a slow disk makes larger groups.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from producer.batch.client import BatchClient
from producer.batch.line_cost import LineCost
from producer.batch.output import OutputFiles
from producer.batch.reader import BadLine
from producer.batch.record import bad_line_record, is_answered, job_record
from producer.batch.tally import Tally
from producer.batch.window import Window
from shared.errors import BatchRefused
from shared.job import Job


@dataclass(frozen=True, slots=True)
class LineRef:
    """Which line a job answers."""

    number: int
    custom_id: str


class Ended(NamedTuple):
    """A line whose job ended."""

    line: LineRef
    job: Job
    cost: LineCost


Outcome = Ended | BadLine
"""A line that is to be recorded."""


class Recorder:
    """Takes outcomes; `run` writes them."""

    def __init__(
        self, files: OutputFiles, client: BatchClient, window: Window, tally: Tally, *, run: str
    ) -> None:
        self._files = files
        self._client = client
        self._window = window
        self._tally = tally
        self._run = run
        self._waiting: list[Outcome] = []
        self._has_some = asyncio.Event()
        self._writing = asyncio.Lock()
        self._is_broken = False

    def take_job(self, line: LineRef, job: Job, cost: LineCost) -> None:
        """Record a job that has ended."""
        self._waiting.append(Ended(line, job, cost))
        self._has_some.set()

    def take_bad_line(self, line: BadLine) -> None:
        """Record a line that became no job."""
        self._waiting.append(line)
        self._has_some.set()

    async def run(self) -> None:
        """Write groups for ever; cancel it, then `flush`.

        Raises:
            BatchRefused: The files cannot be written. What was not written is still in Redis.
            StoreUnavailable: What is on disk could not be dropped from Redis, where it will expire.
        """
        while True:
            await self._has_some.wait()
            # Shielded: a group is written and dropped as a whole, whoever cancels in between.
            await asyncio.shield(asyncio.create_task(self.flush(is_dropping=True)))

    async def flush(self, *, is_dropping: bool) -> None:
        """Write what waits.

        Args:
            is_dropping: Also drop the jobs from Redis; not when it has just failed.
        """
        async with self._writing:
            self._has_some.clear()
            group, self._waiting = self._waiting, []
            # After a failed write the file may end in a torn line: nothing may follow it.
            if group and not self._is_broken:
                await self._write(group)
                if is_dropping:
                    await self._client.forget([one.job.id for one in group if isinstance(one, Ended)])

    async def _write(self, group: list[Outcome]) -> None:
        answers, failures = self._encode(group)
        try:
            await asyncio.to_thread(self._files.append, answers, failures)
        except OSError as exc:
            self._is_broken = True
            path = self._files.paths.output
            text = f"cannot write {path}: {exc.strerror}; make room and run the same command again"
            raise BatchRefused(text) from exc
        for one in group:
            if isinstance(one, Ended):
                self._tally.add_job(one.job, one.cost)
            else:
                self._tally.add_bad_line(one.code)
        self._window.release(len(group))

    def _encode(self, group: list[Outcome]) -> tuple[list[bytes], list[bytes]]:
        answers: list[bytes] = []
        failures: list[bytes] = []
        for one in group:
            if isinstance(one, Ended):
                record = job_record(self._run, one.line.number, one.line.custom_id, one.job, one.cost)
                (answers if is_answered(one.job) else failures).append(record)
            else:
                failures.append(bad_line_record(self._run, one))
        return answers, failures
