"""The feeder: submits lines by groups, as far as the window has room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from producer.batch.client import BatchWatch
from producer.batch.gate import Gate
from producer.batch.leftovers import Leftovers
from producer.batch.outcome import LineRef
from producer.batch.reader import BadLine, Line
from producer.batch.recorder import Recorder
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

MAX_MODELS = 1000
"""Models remembered at most."""


@dataclass(frozen=True, slots=True)
class Feed:
    """How the lines of a run are submitted.

    Attributes:
        run: Part of every idempotency key, and their name for telemetry.
        left_s: Seconds that a job has from now on; None = as the setting says.
        has_fixed_input: The input cannot change: where it seems to, another version of chatq reads it otherwise,
            and that is one line's error.
    """

    run: str
    lane: Lane
    client: str
    left_s: Callable[[], float | None] = lambda: None
    has_fixed_input: bool = False

    def submission(self, line: Line) -> Submission:
        """The submission of a line."""
        key = line_key(self.run, line.number)
        return Submission(
            line.body,
            self.lane,
            key,
            client=self.client,
            tags=line.tags,
            batch=self.run,
            expires_in_s=self.left_s(),
        )

    def job_id(self, line: Line) -> str:
        """The id of its job."""
        return id_from_key(self.client, line_key(self.run, line.number))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why the lines that are left are not run.

    Attributes:
        code: Of their error.
        leftovers: Tells lines that became jobs in an earlier session: those have an outcome of their own.
    """

    code: str
    message: str
    leftovers: Leftovers | None = None


class Feeder:
    """Moves lines from the source into Redis. Lines in flight stand in `in_flight`, by job id.

    Args:
        gate: Lets lines through, where there is a budget.
        leftovers: Tells lines that became jobs in an earlier session, where that matters.
    """

    def __init__(
        self,
        source: Source,
        watch: BatchWatch,
        recorder: Recorder,
        window: Window,
        tally: Tally,
        *,
        feed: Feed,
        gate: Gate | None = None,
        leftovers: Leftovers | None = None,
    ) -> None:
        self.in_flight: dict[str, LineRef] = {}
        self.models: set[str] = set()
        """Models asked for so far."""
        self.is_settled = True
        """Whether every line in `in_flight` is known to be in Redis."""
        self.has_submitted = False
        """Whether anything may be in Redis."""
        self.left_out: LeftOut | None = None
        """Set it to submit nothing more."""
        self._source = source
        self._watch = watch
        self._recorder = recorder
        self._window = window
        self._tally = tally
        self._feed = feed
        self._gate = gate
        self._leftovers = leftovers

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
            if self.left_out is not None:
                await self._submit(lines)
                continue
            if self._leftovers is not None:
                lines = await self._adopt(lines, self._leftovers)
            if self._gate is None:
                await self._submit(lines)
            else:
                await self._submit_affordable(lines, self._gate)
            self._tally.in_flight = len(self.in_flight)

    async def _adopt(self, lines: list[Line], leftovers: Leftovers) -> list[Line]:
        """Submit those again that are in Redis already, whatever there is left to spend; returns the others."""
        known, new = await leftovers.divide(lines, self._feed.job_id)
        if self._gate is not None:
            await self._gate.admit(known, is_known=True)
        await self._submit(known)
        return new

    async def _submit_affordable(self, lines: list[Line], gate: Gate) -> None:
        while lines:
            if self.left_out is not None:
                await self._end(lines, self.left_out)
                return
            if gate.budget.reached.is_set():
                self._leave_out(lines, gate)
                return
            passed = await gate.admit(lines)
            for bad in passed.bad:
                self._recorder.take_bad_line(bad)
            await self._submit(passed.lines)
            lines = passed.rest
            if lines and not passed.lines and not gate.budget.reached.is_set():
                self._tally.notice = "waits for running calls: their cost may be all that is left"
                await gate.budget.changed()
                self._tally.notice = ""

    def _leave_out(self, lines: list[Line], gate: Gate) -> None:
        for line in lines:
            gate.budget.release(self._feed.job_id(line))
            self._recorder.take_bad_line(gate.mark(line))

    async def _end(self, lines: list[Line], why: LeftOut) -> None:
        """Record lines as not run; those that Redis knows are watched until they have ended."""
        known: list[Line] = []
        if why.leftovers is not None:
            known, lines = await why.leftovers.divide(lines, self._feed.job_id)
        # A job can vanish before it is watched, and its lane be full: then it is a line like the others.
        refused = await self._submit_once(known) if known else []
        for line in (*lines, *(line for line, _ in refused)):
            self._recorder.take_bad_line(BadLine(line.number, line.custom_id, why.code, why.message))

    async def _submit(self, lines: list[Line]) -> None:
        while lines:
            if self.left_out is not None:
                await self._end(lines, self.left_out)
                return
            refused = await self._submit_once(lines)
            if refused:
                await self._wait_for_room(refused[0][1])
            lines = [line for line, _ in refused]
            if self._gate is not None and self._gate.budget.reached.is_set():
                self._leave_out(lines, self._gate)
                return

    async def _wait_for_room(self, why: LaneFull) -> None:
        self._tally.notice = str(why)
        wanted_s = why.retry_after_s if why.retry_after_s is not None else LONGEST_PAUSE_S
        await asyncio.sleep(min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, wanted_s)))
        self._tally.notice = ""

    async def _submit_once(self, lines: list[Line]) -> list[tuple[Line, LaneFull]]:
        """Returns the lines for which a lane has no room just now."""
        ids = [self._feed.job_id(line) for line in lines]
        # Before the submit: a job may end, and be delivered, before the reply is here.
        self.in_flight.update(
            (job_id, LineRef(line.number, line.custom_id, line.asked))
            for job_id, line in zip(ids, lines, strict=True)
        )
        self.is_settled, self.has_submitted = False, True
        results = await self._hand_in([self._feed.submission(line) for line in lines])
        refused: list[tuple[Line, LaneFull]] = []
        for line, job_id, result in zip(lines, ids, results, strict=True):
            if isinstance(result, JobRejected):
                self.in_flight.pop(job_id, None)
            if isinstance(result, LaneFull):
                refused.append((line, result))
            elif isinstance(result, JobRejected):
                self._recorder.take_bad_line(self._rejected(line, result))
                if self._gate is not None:
                    self._gate.budget.release(job_id)
            elif len(self.models) < MAX_MODELS:
                self.models.add(line.body["model"])
        # Stays False when something was raised: what is in Redis then is for the next run to find out.
        self.is_settled = True
        return refused

    def _rejected(self, line: Line, why: JobRejected) -> BadLine:
        if isinstance(why, IdempotencyConflict) and not self._feed.has_fixed_input:
            raise BatchRefused(
                f"line {line.number:,} was submitted with other content before: the input, -m or --fallback "
                "changed; run the original command again, or --restart"
            )
        return BadLine(line.number, line.custom_id, why.code, str(why))

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
