"""Jobs in bulk: a job a line in, a line a job out, both as they come, and neither ever in memory as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from producer.api.call import Call, read_json
from producer.api.errors import ApiError, as_api_error, not_found
from producer.api.job_submission import max_job_bytes, read_submission
from producer.api.jobs import IDEMPOTENCY_KEY, SOURCE, check_submission
from producer.api.lines import Line, read_lines
from producer.api.middleware import take_its_time
from producer.api.operation import NDJSON, Body, Operation, Reply
from producer.api.principal import Role
from producer.api.spool import Spool
from producer.submission import Submission
from shared.background import end_tasks
from shared.errors import ChatqError, JobRejected
from shared.job import JobState
from shared.store.jobs import Accepted

AT_ONCE = 2
"""Groups under way: one is prepared while Redis has the other."""


async def create_jobs(call: Call) -> Response:
    """Accept a job a line."""
    return BulkAnswer(call)


class BulkAnswer(Response):
    """Reads jobs, hands them in and answers line for line, in order.

    A caller that goes away leaves the jobs whose lines have come; with idempotency keys it can send all again. It
    may send lines for as long as it has some, as they arise: only a silence of `[api] body_timeout_s` cuts it off.
    """

    def __init__(self, call: Call) -> None:
        self.background = None
        self._call = call
        self._spool = Spool()
        self._groups: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
        self._has_room = asyncio.Semaphore(AT_ONCE)
        self._under_way: set[asyncio.Task[bytes]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; an ASGI application, as every response is one."""
        take_its_time(scope)
        roles = asyncio.create_task(self._read()), asyncio.create_task(self._collect())
        try:
            # Not before something was read: who asks whether to send the body (`Expect`) would take it for a no.
            part = await self._spool.get()
            if not part:  # the whole body was read, or cannot be: then that is the answer
                await asyncio.gather(*roles)
            headers = [(b"content-type", NDJSON.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while part:
                await send({"type": "http.response.body", "body": part, "more_body": True})
                part = await self._spool.get()
            await asyncio.gather(*roles)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await end_tasks(*roles, *self._under_way)
            self._spool.close()

    async def _read(self) -> None:
        """Begin to hand in what comes."""
        try:
            async for lines in read_lines(self._call.request.stream(), max_bytes=max_job_bytes(self._call)):
                await self._has_room.acquire()
                group = asyncio.create_task(self._hand_in(lines))
                self._under_way.add(group)
                self._groups.put_nowait(group)
        except ClientDisconnect:
            return
        finally:
            self._groups.put_nowait(None)

    async def _collect(self) -> None:
        """Note the answers, in order."""
        try:
            while (group := await self._groups.get()) is not None:
                answers = await group
                self._under_way.discard(group)
                self._has_room.release()
                await self._spool.put(answers)
        finally:
            self._spool.end()

    async def _hand_in(self, lines: Sequence[Line]) -> bytes:
        read = [await self._submission(line) for line in lines]
        submissions = [one for one in read if isinstance(one, Submission)]
        results = iter(await self._accept(submissions))
        answers = [next(results) if isinstance(one, Submission) else one for one in read]
        return b"".join(_answer(line.number, one) for line, one in zip(lines, answers, strict=True))

    async def _submission(self, line: Line) -> Submission | ApiError:
        try:
            if line.data is None:
                text = f"the line is over the limit of {max_job_bytes(self._call):,} bytes"
                raise ApiError(413, text, code="request_too_large")
            key = self._call.idempotency_key
            job = read_json(line.data, what="the line")
            submission = read_submission(self._call, job, key=key and f"{key}:{line.number}")
            await check_submission(self._call, submission)
        except ApiError as exc:
            return exc
        except ChatqError as exc:
            return as_api_error(exc)
        return submission

    async def _accept(self, submissions: Sequence[Submission]) -> list[dict[str, Any] | ApiError]:
        try:
            accepted = await self._call.services.producer.accept_many(submissions)
        except ChatqError as exc:
            return [as_api_error(exc)] * len(submissions)
        were_there = [
            result for result, code in accepted if isinstance(result, str) and code is not Accepted.NEW
        ]
        known = await self._known(were_there) if were_there else {}
        return [
            as_api_error(result)
            if isinstance(result, JobRejected)
            else known.get(result, {"id": result, "status": JobState.QUEUED})
            for result, _ in accepted
        ]

    async def _known(self, job_ids: Sequence[str]) -> dict[str, dict[str, Any] | ApiError]:
        """What to say of jobs that had been submitted before."""
        try:
            jobs = await self._call.services.producer.get_many(job_ids)
        except ChatqError as exc:
            return dict.fromkeys(job_ids, as_api_error(exc))
        return {
            job_id: not_found("job", job_id) if job is None else {"id": job_id, "status": job.state}
            for job_id, job in zip(job_ids, jobs, strict=True)
        }


def _answer(number: int, one: dict[str, Any] | ApiError) -> bytes:
    if not isinstance(one, ApiError):
        return orjson.dumps({"line": number, **one}, option=orjson.OPT_APPEND_NEWLINE)
    error = one.envelope()["error"] | {"status": one.status}
    if (seconds := one.headers.get("Retry-After")) is not None:
        error["retry_after"] = int(seconds)
    return orjson.dumps({"line": number, "error": error}, option=orjson.OPT_APPEND_NEWLINE)


SCHEMAS = {
    "BulkAnswer": {
        "type": "string",
        "description": 'A line a job, in order: {"line", "id", "status"}, or {"line", "error": {"message", "type", '
        '"param", "code", "status", "retry_after"?}}; `line` counts from 1, blank lines too. A bad line does not '
        "hold up others.",
    },
    "BulkJobs": {
        "type": "string",
        "description": "A job (`NewJob`) a line. Lines without an `idempotency_key` get one from the header's and "
        "their number. The body may be of any length; the answer begins before it ends.",
    },
}

OPERATIONS = (
    Operation(
        "POST",
        "/jobs/bulk",
        create_jobs,
        "Submit any number of jobs, one a line",
        Role.SUBMIT,
        "jobs",
        params=(IDEMPOTENCY_KEY, SOURCE),
        body=Body({"$ref": "#/components/schemas/BulkJobs"}, NDJSON),
        replies={200: Reply("A line a job", {"$ref": "#/components/schemas/BulkAnswer"}, NDJSON)},
    ),
)
