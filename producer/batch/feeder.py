"""The feeder: submits lines by groups, as far as the window has room."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from producer.batch.client import BatchWatch
from producer.batch.reader import BadLine, Line
from producer.batch.recorder import LineRef, Recorder
from producer.batch.source import Source
from producer.batch.tally import Tally
from producer.batch.window import Window
from producer.submission import Submission
from shared.errors import BatchRefused, IdempotencyConflict, JobRejected, LaneFull, StoreFull
from shared.job import Lane
from shared.store.jobs import id_from_key

FULL_PAUSE_S = 1.0
"""Pause before a full Redis is asked again; answers that are recorded meanwhile make room."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 5.0
"""Bounds of the pause before a full lane is asked again, whatever its drain rate promises."""

CLIENT = "default"
"""Whose idempotency keys a batch uses."""

MAX_MODELS = 1000
"""Models remembered at most."""


@dataclass(frozen=True, slots=True)
class Feed:
    """How the lines of a run are submitted."""

    run: str
    lane: Lane


class Feeder:
    """Moves lines from the source into Redis. Lines in flight stand in `in_flight`, by job id."""

    def __init__(
        self,
        source: Source,
        watch: BatchWatch,
        recorder: Recorder,
        window: Window,
        tally: Tally,
        *,
        feed: Feed,
    ) -> None:
        self.in_flight: dict[str, LineRef] = {}
        self.models: set[str] = set()
        """Models asked for so far."""
        self.is_settled = True
        """Whether every line in `in_flight` is known to be in Redis."""
        self.has_submitted = False
        """Whether anything may be in Redis."""
        self._source = source
        self._watch = watch
        self._recorder = recorder
        self._window = window
        self._tally = tally
        self._feed = feed

    async def run(self) -> None:
        """Feed to the end of the input.

        Raises:
            BatchRefused: The input cannot be read on, or is not what this run began with.
            StoreUnavailable: Redis is gone for longer than it is retried.
        """
        while (group := await self._source.next_group()) is not None:
            await self._window.take(len(group))
            lines = [line for line in group if isinstance(line, Line)]
            for line in group:
                if isinstance(line, BadLine):
                    self._recorder.take_bad_line(line)
            if lines:
                await self._submit(lines)
            self._tally.in_flight = len(self.in_flight)

    async def _submit(self, lines: list[Line]) -> None:
        while lines:
            refused = await self._submit_once(lines)
            if refused:
                await self._wait_for_room(refused[0][1])
            lines = [line for line, _ in refused]

    async def _wait_for_room(self, why: LaneFull) -> None:
        self._tally.notice = str(why)
        wanted_s = why.retry_after_s if why.retry_after_s is not None else LONGEST_PAUSE_S
        await asyncio.sleep(min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, wanted_s)))
        self._tally.notice = ""

    async def _submit_once(self, lines: list[Line]) -> list[tuple[Line, LaneFull]]:
        """Returns the lines for which a lane has no room just now."""
        keys = [line_key(self._feed.run, line.number) for line in lines]
        ids = [id_from_key(CLIENT, key) for key in keys]
        # Before the submit: a job may end, and be delivered, before the reply is here.
        self.in_flight.update(
            (job_id, LineRef(line.number, line.custom_id)) for job_id, line in zip(ids, lines, strict=True)
        )
        self.is_settled, self.has_submitted = False, True
        results = await self._hand_in(
            [
                Submission(line.body, lane=self._feed.lane, idempotency_key=key, client=CLIENT)
                for line, key in zip(lines, keys, strict=True)
            ]
        )
        refused: list[tuple[Line, LaneFull]] = []
        for line, job_id, result in zip(lines, ids, results, strict=True):
            if isinstance(result, JobRejected):
                self.in_flight.pop(job_id, None)
            if isinstance(result, LaneFull):
                refused.append((line, result))
            elif isinstance(result, JobRejected):
                self._recorder.take_bad_line(_rejected(line, result))
            elif len(self.models) < MAX_MODELS:
                self.models.add(line.body["model"])
        # Stays False when something was raised: what is in Redis then is for the next run to find out.
        self.is_settled = True
        return refused

    async def _hand_in(self, submissions: list[Submission]) -> list[str | JobRejected]:
        while True:
            try:
                results = await self._watch.submit_many(submissions)
            except StoreFull as exc:
                self._tally.notice = str(exc)
                await asyncio.sleep(FULL_PAUSE_S)
            else:
                self._tally.notice = ""
                return results


def line_key(run: str, number: int) -> str:
    """The idempotency key of a line: after a crash, the same line finds the same job."""
    return f"{run}:{number}"


def _rejected(line: Line, why: JobRejected) -> BadLine:
    if isinstance(why, IdempotencyConflict):
        raise BatchRefused(
            f"line {line.number:,} was submitted with other content before: the input, -m or --fallback changed; "
            "run the original command again, or --restart"
        )
    return BadLine(line.number, line.custom_id, why.code, str(why))
