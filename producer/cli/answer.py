"""How one job is shown: its answer, or where it stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import click
import orjson

from producer.cli.holds import reason
from producer.cli.money import cost
from producer.cli.output import echo_fields, echo_json
from producer.cli.times import moment, span
from producer.job_cost import job_cost
from producer.job_view import job_view
from shared.errors import JobFailed
from shared.job import Attempt, Job, JobState
from shared.money import read_usd

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def show(job: Job, *, as_json: bool) -> None:
    """Print the job: as JSON, or the text of its answer, or its state; people also hear what it cost.

    Raises:
        JobFailed: It ended without an answer, or with one that cannot be read.
    """
    has_answer = job.state is JobState.COMPLETED and job.response is not None
    if as_json:
        echo_json(job_view(job))
    elif has_answer:
        click.echo(for_terminal(_answer(job)) if sys.stdout.isatty() else _answer(job))
        if sys.stderr.isatty():
            click.echo(f"chatq: cost {_cost(job)}", err=True)
    elif not job.state.is_terminal:
        echo_fields(_fields(job))
    if job.state.is_terminal and not has_answer:
        raise JobFailed(_reason(job))


def _cost(job: Job) -> str:
    spent = job_cost(job)
    return cost(spent.usd if spent.usd or not spent.unknown else None, spent.unknown)


def _answer(job: Job) -> str:
    if job.text is not None:
        return job.text
    # Tool calls and the like: the message is the answer.
    match job.response:
        case {"choices": [{"message": message}, *_]}:
            return orjson.dumps(message).decode()
        case _:
            return orjson.dumps(job.response).decode()


def for_terminal(text: str) -> str:
    """Control characters made visible: a model's answer must not steer the reader's terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _fields(job: Job) -> list[tuple[str, str]]:
    fields = [("state", " · ".join(_state(job))), ("queue", job.queue)]
    if job.held_by is not None:
        fields.append(("held by", job.held_by))
    if len(job.candidates) > 1 and job.candidate is not None:
        at = job.candidates.index(job.candidate) + 1
        shown = f"{job.candidate.provider}: {job.candidate.model} ({at} of {len(job.candidates)})"
        fields.append(("candidate", shown))
    fields.append(("attempts", str(job.attempts)))
    if job.attempts_log:
        fields.append(("cost", _cost(job)))
    if job.worker:
        fields.append(("worker", job.worker))
    if job.error is not None:
        fields.append(("last error", f"{job.error.code}: {job.error.message}"))
    return [(name, for_terminal(value)) for name, value in fields + attempt_lines(job)]


def _state(job: Job) -> Iterator[str]:
    """Where the job stands: `queued · 1,204 before it · rate limited until 14:03:20 · about 3 min`."""
    yield job.state.value
    if job.state is not JobState.QUEUED:
        return
    if job.place is not None:
        yield f"{job.place:,} before it"
    if job.wait_reason is not None:
        yield reason(job.wait_reason, job.waits_until)
    if job.eta_s is not None:
        yield f"about {span(job.eta_s)}"


def attempt_lines(job: Job) -> list[tuple[str, str]]:
    """A line for each call that is remembered."""
    return [
        (f"attempt {attempt.number or '?'}", " · ".join(_attempt(attempt))) for attempt in job.attempts_log
    ]


def _attempt(attempt: Attempt) -> Iterator[str]:
    if attempt.started_at is not None:
        yield moment(attempt.started_at)
    if attempt.candidate is not None:
        yield f"{attempt.candidate.provider}: {attempt.candidate.model}"
    yield attempt.error or "answered"
    if attempt.status is not None:
        yield f"HTTP {attempt.status}"
    if attempt.duration_s is not None:
        yield f"{attempt.duration_s:.2f} s"
    if attempt.input_tokens is not None or attempt.output_tokens is not None:
        yield f"{attempt.input_tokens or 0:,} + {attempt.output_tokens or 0:,} tokens"
    if attempt.cost_usd is not None:
        yield cost(read_usd(attempt.cost_usd), 0)
    if attempt.error is not None and attempt.maybe_billed:
        yield "maybe billed"


def _reason(job: Job) -> str:
    if job.error is None:
        return f"job {job.id} is {job.state}"
    where = f" at {job.error.provider}" if job.error.provider else ""
    return f"job {job.id} is {job.state}{where}: {job.error.code}: {for_terminal(job.error.message)}"
