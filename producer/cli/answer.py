"""How one job is shown: its answer, or where it stands."""

from __future__ import annotations

import re
import sys
import time

import click
import orjson

from producer.cli.output import echo_fields, echo_json
from shared.errors import JobFailed
from shared.job import Job, JobState

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def show(job: Job, *, as_json: bool) -> None:
    """Print the job: as JSON, or the text of its answer, or its state.

    Raises:
        JobFailed: It ended without an answer, or with one that cannot be read.
    """
    has_answer = job.state is JobState.COMPLETED and job.response is not None
    if as_json:
        echo_json(job)
    elif has_answer:
        click.echo(_for_terminal(_answer(job)) if sys.stdout.isatty() else _answer(job))
    elif not job.state.is_terminal:
        echo_fields(_fields(job))
    if job.state.is_terminal and not has_answer:
        raise JobFailed(_reason(job))


def _answer(job: Job) -> str:
    if job.text is not None:
        return job.text
    # Tool calls and the like: the message is the answer.
    match job.response:
        case {"choices": [{"message": message}, *_]}:
            return orjson.dumps(message).decode()
        case _:
            return orjson.dumps(job.response).decode()


def _for_terminal(text: str) -> str:
    """Control characters made visible: a model's answer must not steer the reader's terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _fields(job: Job) -> list[tuple[str, str]]:
    state = job.state.value
    if job.state is JobState.QUEUED and job.wait_reason:
        state += f" ({_WAITS.get(job.wait_reason, job.wait_reason)}{_until(job.waits_until)})"
    fields = [("state", state), ("queue", job.queue), ("attempts", str(job.attempts))]
    if job.worker:
        fields.append(("worker", job.worker))
    if job.error is not None:
        fields.append(("last error", _for_terminal(f"{job.error.code}: {job.error.message}")))
    return fields


_WAITS = {
    "ready": "ready, waits for a worker",
    "backoff": "waits after a failed attempt",
    "rate_limited": "waits for a rate limit",
}


def _until(waits_until: float | None) -> str:
    return f", {max(0.0, waits_until - time.time()):.1f} s more" if waits_until else ""


def _reason(job: Job) -> str:
    if job.error is None:
        return f"job {job.id} is {job.state}"
    where = f" at {job.error.provider}" if job.error.provider else ""
    return f"job {job.id} is {job.state}{where}: {job.error.code}: {_for_terminal(job.error.message)}"
