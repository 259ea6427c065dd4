"""Records: what one line of the input becomes in the output or the error file (openai-wire §7.6).

Everything is ASCII: several clients split the files with `str.splitlines()`, which also breaks at U+2028,
U+2029 and U+0085.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import orjson

from producer.batch.line_cost import NOTHING, LineCost, read_cost
from producer.batch.reader import BadLine
from shared.job import Job, JobError, JobState

PREFIX = b'{"id":"batch_req_'
"""How every record begins."""

BUDGET_REACHED = "budget_reached"
"""Code of a line that was not asked, or not asked again, for want of money: the next run goes on with it."""

_HEAD = re.compile(
    rb'\{"id":\s*"batch_req_(?P<run>[0-9a-f]{16,32})_(?P<line>[0-9]{1,15})",\s*'
    rb'"custom_id":\s*(?P<custom_id>"(?:[^"\\]|\\.)*")'
)


_MARK = re.compile(rb',\s*"response":\s*null,\s*"error":\s*\{"code":\s*"' + BUDGET_REACHED.encode() + rb'"')


@dataclass(frozen=True, slots=True)
class Head:
    """Which line a record is of, and what there is to know of it without reading its answer."""

    run: str
    number: int
    custom_id: str
    cost: LineCost = NOTHING
    is_mark: bool = False
    """Whether it only says that the line was left out (`BUDGET_REACHED`)."""


def read_head(record: bytes) -> Head | None:
    """Read the head of a record; None when the line is not one of ours."""
    match = _HEAD.match(record)
    if match is None:
        return None
    custom_id = orjson.loads(match["custom_id"])
    is_mark = _MARK.match(record, match.end()) is not None
    return Head(match["run"].decode(), int(match["line"]), custom_id, read_cost(record), is_mark)


def ascii_json(value: Any) -> bytes:
    """Compact JSON without a byte above U+007F.

    orjson cannot escape. Most answers are ASCII as they are, where it is 15 times as fast as json; for the others
    json's own escaping is 3 to 20 times as fast as escaping orjson's output.
    """
    encoded = orjson.dumps(value)
    return encoded if encoded.isascii() else json.dumps(value, separators=(",", ":")).encode()


def is_answered(job: Job) -> bool:
    """Whether an ended job goes to the output file; all others go to the error file."""
    return job.state is JobState.COMPLETED and job.response is not None


def job_record(run: str, number: int, custom_id: str, job: Job, cost: LineCost) -> bytes:
    """The record of a line whose job has ended."""
    if is_answered(job) and job.response is not None:
        return _record(run, number, custom_id, _response(200, job.id, job.response), b"null", cost)
    error = _outcome_error(job)
    if error.status is not None and error.status >= 400:
        response = _response(error.status, job.id, _envelope(error))
        return _record(run, number, custom_id, response, b"null", cost)
    return _record(run, number, custom_id, b"null", _error(error.code, error.message, number), cost)


def bad_line_record(run: str, line: BadLine) -> bytes:
    """The record of a line that became no job."""
    error = _error(line.code, f"line {line.number}: {line.message}", line.number)
    return _record(run, line.number, line.custom_id, b"null", error, NOTHING)


def refused_line_record(run: str, line: BadLine) -> bytes:
    """The record of a line whose request was refused before any call: as a model server refuses one."""
    error = JobError(line.code, f"line {line.number}: {line.message}", 400)
    response = _response(400, f"line-{line.number}", _envelope(error))
    return _record(run, line.number, line.custom_id, response, b"null", NOTHING)


def error_code(job: Job) -> str:
    """The code under which a job without an answer is counted."""
    return _outcome_error(job).code


def _record(run: str, number: int, custom_id: str, response: bytes, error: bytes, cost: LineCost) -> bytes:
    # Joined, not encoded as one object: the response may be as deep as JSON encoders go already.
    head = b'%s%s_%d","custom_id":%s' % (PREFIX, run.encode(), number, ascii_json(custom_id))
    return b'%s,"response":%s,"error":%s,"chatq":%s}\n' % (head, response, error, cost.encode())


def _response(status: int, request_id: str, body: dict[str, Any]) -> bytes:
    head = b'{"status_code":%d,"request_id":%s' % (status, ascii_json(request_id))
    return b'%s,"body":%s}' % (head, ascii_json(body))


def _error(code: str, message: str, number: int) -> bytes:
    return ascii_json({"code": code, "message": message, "line": number})


def _envelope(error: JobError) -> dict[str, Any]:
    """OpenAI's error body (openai-wire §3), and where it came from."""
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    status = error.status or 500
    default = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": error.message,
            "type": kind.get(status, default),
            "param": None,
            "code": error.code,
        },
        "chatq": {"provider": error.provider, "upstream_model": error.upstream_model},
    }


def _outcome_error(job: Job) -> JobError:
    """Why there is no answer, in OpenAI's words where it has some."""
    if job.state is JobState.EXPIRED:
        return JobError("batch_expired", "the job's deadline passed before it was answered")
    if job.state is JobState.CANCELLED:
        return JobError("batch_cancelled", "the job was cancelled")
    return job.error or JobError("no_answer", "the job ended without an answer and without a reason")
