"""The events of a job, as they happen (server-sent events): its states, the pieces of its answer, its end.

Events: `status` (the job, when its status changed or what holds it back), `delta` (a piece of a streamed answer, as
in OpenAI's chunks), `end` (the job with its answer; the last one). The id of an event says what was told by then:
`<number of the last piece>/<status>`. A caller that was cut off goes on with it (`Last-Event-ID`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response, StreamingResponse

from producer.api.call import Call
from producer.api.jobs import JOB_ID, owned_job
from producer.api.operation import SSE, Operation, Param, Reply
from producer.api.principal import Role
from producer.client import Producer
from producer.job_view import job_view
from shared.background import end_tasks
from shared.errors import JobNotFound, StoreError
from shared.job import Job, JobState
from shared.store.deltas import Delta

POLL_S = 1.0
"""How soon the start of a call is seen: nobody tells of it. Looks of all followers go together."""

EXPLAIN_S = 5.0
"""How often it is looked at what holds a queued job back: a script each."""

KEEP_ALIVE_S = 15.0
"""Interval of the comments in a silent stream."""


class Position(NamedTuple):
    """What a caller was told by an event.

    Attributes:
        piece: Number of the last piece of the answer; 0 = none yet.
        status: None = nothing yet.
    """

    piece: int
    status: JobState | None

    @classmethod
    def read(cls, event_id: str | None) -> Position:
        """From the id of an event; what is none says that nothing was told."""
        piece, _, status = (event_id or "").partition("/")
        if piece.isascii() and piece.isdigit() and len(piece) < 10 and status in tuple(JobState):
            return cls(int(piece), JobState(status))
        return cls(0, None)

    def __str__(self) -> str:
        return f"{self.piece}/{self.status}"


async def get_events(call: Call) -> Response:
    """The stream of a job's events."""
    job = await owned_job(call, call.path("id"))
    told = Position.read(call.headers.get("last-event-id"))
    if told.status is not None and told.status.is_terminal:
        return Response(status_code=204)  # what a browser takes as: do not connect again
    events = _Events(call.services.producer, job, told)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the second is for nginx
    return StreamingResponse(events.run(), headers=headers, media_type=SSE)


class _Events:
    """Follows one job for one caller."""

    def __init__(self, producer: Producer, job: Job, told: Position) -> None:
        self._producer = producer
        self._job = job
        self._told = told
        self._hold: tuple[Any, ...] | None = None
        self._explain_at = 0.0

    async def run(self) -> AsyncIterator[bytes]:
        """The events as bytes, to the last one."""
        said_at = time.monotonic()
        async with aclosing(self._producer.deltas.follow(self._job.id, str(self._told.piece))) as pieces:
            coming = asyncio.create_task(_next(pieces), name="job-events")
            try:
                while True:
                    event = await self._look(has_piece=coming.done())
                    if event is None and time.monotonic() - said_at >= KEEP_ALIVE_S:
                        event = b": keep-alive\n\n"
                    if event is not None:
                        said_at = time.monotonic()
                        yield event
                    if coming.done():
                        if (piece := coming.result()) is None:
                            break
                        coming = asyncio.create_task(_next(pieces), name="job-events")
                        said_at = time.monotonic()
                        yield self._piece(piece)
                    await asyncio.wait((coming,), timeout=POLL_S)
            finally:
                await end_tasks(coming)
        async for event in self._end():
            yield event

    async def _look(self, *, has_piece: bool) -> bytes | None:
        """What is new of its status.

        Args:
            has_piece: A piece waits to be told: then that is the news, unless it is the first.
        """
        if self._job.state.is_terminal or (has_piece and self._told.status is JobState.IN_PROGRESS):
            return None
        try:
            self._job = await self._producer.look(self._job.id)
            return await self._news()
        except (JobNotFound, StoreError):
            return None  # its end, or the next look, will tell

    async def _news(self) -> bytes | None:
        """An event of its status, if that is another than what was told; its end is told at the end."""
        job = self._job
        if job.state is not JobState.QUEUED:
            is_new = job.state is JobState.IN_PROGRESS and self._told.status is not job.state
            return self._event("status", job.state) if is_new else None
        if self._told.status is JobState.QUEUED and time.monotonic() < self._explain_at:
            return None
        self._explain_at = time.monotonic() + EXPLAIN_S
        self._job = job = await self._producer.explain(job)
        hold = (job.wait_reason, job.held_by, job.waits_until, job.place, job.eta_s and round(job.eta_s))
        if self._told.status is JobState.QUEUED and hold == self._hold:
            return None
        self._hold = hold
        return self._event("status", JobState.QUEUED)

    def _piece(self, piece: Delta) -> bytes:
        """An event of a piece. Whoever sends pieces is at work, also when no look has seen that yet."""
        self._told = Position(int(piece.id), JobState.IN_PROGRESS)
        return _event(
            "delta", self._told, {"id": self._job.id, "object": "job.delta", "choices": piece.choices}
        )

    async def _end(self) -> AsyncIterator[bytes]:
        """The last event; none of a job that is gone: who asks again hears of it."""
        try:
            self._job = await self._producer.look(self._job.id)
        except JobNotFound:
            return
        yield self._event("end", self._job.state)

    def _event(self, name: str, status: JobState) -> bytes:
        self._told = self._told._replace(status=status)
        return _event(name, self._told, job_view(self._job))


async def _next(pieces: AsyncIterator[Delta]) -> Delta | None:
    return await anext(pieces, None)


def _event(name: str, told: Position, data: dict[str, Any]) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), str(told).encode(), orjson.dumps(data))


SCHEMAS = {
    "JobEvent": {
        "type": "object",
        "required": ["event", "id", "data"],
        "properties": {
            "event": {"enum": ["status", "delta", "end"]},
            "id": {"type": "string", "description": "For `Last-Event-ID`, to go on behind this event"},
            "data": {
                "type": "string",
                "description": "JSON. `status`: the job; `delta`, of jobs with `stream`: `id`, `object`, `choices` "
                "as in OpenAI's chunks; `end`: the job with its answer.",
            },
        },
    }
}

OPERATIONS = (
    Operation(
        "GET",
        "/jobs/{id}/events",
        get_events,
        "What happens to a job, as it happens, to its end",
        Role.READ,
        "jobs",
        params=(
            JOB_ID,
            Param("Last-Event-ID", "header", {"type": "string"}, "Go on behind this event"),
        ),
        replies={
            200: Reply("Events", {"$ref": "#/components/schemas/JobEvent"}, SSE),
            204: Reply("Its end was told already"),
        },
    ),
)
