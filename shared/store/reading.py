"""Reading jobs: from a job's hash, and where that is not enough its registry or RQ's result stream, to `Job`.

Anybody can write to Redis, so nothing here is believed: a broken field costs its own job that field, an answer
that cannot be read is an error of that job (`corrupt_job`), and the jobs beside it are read as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypedDict

import orjson
from redis.exceptions import ResponseError

from shared.job import Attempt, Candidate, Job, JobError, JobState, WaitReason
from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.grants import parse_hops
from shared.store.waiting import read_number, read_object, read_reason


class _Row(NamedTuple):
    """The fields of a job's hash that a reader needs, under their names in the hash."""

    status: bytes | None
    cq_state: bytes | None
    origin: bytes | None
    cq_info: bytes | None
    cq_attempts: bytes | None
    created_at: bytes | None
    started_at: bytes | None
    ended_at: bytes | None
    cq_result: bytes | None
    cq_error: bytes | None
    cq_wait: bytes | None
    worker_name: bytes | None
    cq_hops: bytes | None
    cq_tries: bytes | None

    @property
    def state(self) -> JobState:
        return rq_layout.state_of(self.status or b"", self.cq_state)

    @property
    def queue(self) -> str:
        return _text(self.origin) or ""

    @property
    def is_parked(self) -> bool:
        """Whether it waits for its time; when that is stands in a registry."""
        return self.status == b"scheduled"

    @property
    def is_stock(self) -> bool:
        """Whether it ended outside chatq: its outcome stands in RQ's result stream only."""
        if self.state is JobState.COMPLETED:
            return self.cq_result is None
        return self.state is JobState.FAILED and self.cq_error is None


class Told(NamedTuple):
    """A job as the one is told of it who waits for its end: with its answer, and the rest where that is needed.

    Attributes:
        response: As `Job.response`.
        read: Reads the whole job, which takes several times as long.
    """

    id: str
    state: JobState
    response: dict[str, Any] | None
    read: Callable[[], Job]

    @classmethod
    def of(cls, job: Job) -> Told:
        """The same from a job that was read."""
        return cls(job.id, job.state, job.response, lambda: job)


class _Usage(TypedDict):
    """What a call drew, as `Attempt` names it."""

    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


async def read_jobs(store: Store, job_ids: Sequence[str]) -> list[Job | None]:
    """The jobs as they are now, in two round trips at most; None for an id without a job's hash.

    Raises:
        RedisError: No answer from Redis.
    """
    replies = await store.send(*(("HMGET", keys.job(job_id), *_Row._fields) for job_id in job_ids))
    rows = [_row(reply) for reply in replies]
    known = {job_id: row for job_id, row in zip(job_ids, rows, strict=True) if row is not None}
    details = await _read_details(store, known)
    return [
        _view(job_id, known[job_id], details.get(job_id)) if job_id in known else None for job_id in job_ids
    ]


def read_ended(message: bytes) -> tuple[list[str], Told | None]:
    """What a waiter is told: ids of jobs that ended; or of one, with the job if it came along.

    Args:
        message: As `notify` in `lua/lib/base.lua` writes it; of anything else no job comes out.
    """
    head, _, fields = message.partition(b"\n")
    words = head.decode(errors="replace").split()
    row = _row_of(words[1:], fields) if fields else None
    if row is None:
        return words if not fields else words[:1], None
    state = row.state
    if not state.is_terminal or row.is_stock:
        return words[:1], None
    response = _json_object(row.cq_result) if state is JobState.COMPLETED else None
    return words[:1], Told(words[0], state, response, partial(_view, words[0], row, None))


def _row_of(lengths: Sequence[str], fields: bytes) -> _Row | None:
    values: list[bytes | None] = []
    start = 0
    for word in lengths:
        if word == "-":
            values.append(None)
        elif word.isdecimal():
            values.append(fields[start : start + int(word)])
            start += int(word)
        else:
            return None
    return _Row(*values) if len(values) == len(_Row._fields) and start == len(fields) else None


def _row(reply: Any) -> _Row | None:
    if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
        return None  # something else stands under the job's key: there is no job
    if isinstance(reply, Exception):
        raise reply
    return _Row(*reply) if reply[0] is not None else None


async def _read_details(store: Store, rows: dict[str, _Row]) -> dict[str, Any]:
    """What some jobs keep elsewhere: the due time of parked ones, the result entry of stock ones."""
    elsewhere = [job_id for job_id, row in rows.items() if row.is_parked or row.is_stock]
    if not elsewhere:
        return {}
    async with store.client.pipeline(transaction=False) as pipe:
        for job_id in elsewhere:
            if rows[job_id].is_parked:
                pipe.zscore(keys.scheduled(rows[job_id].queue), job_id)
            else:
                pipe.xrevrange(keys.results(job_id), count=1)
        replies = await pipe.execute(raise_on_error=False)
    return {
        job_id: None if isinstance(reply, ResponseError) else reply
        for job_id, reply in zip(elsewhere, replies, strict=True)
    }


def _view(job_id: str, row: _Row, detail: Any) -> Job:
    info = read_object(row.cq_info)
    response, error = _outcome(row, detail)
    metadata = info.get("metadata")
    candidates = read_candidates(info)
    # Most jobs have neither moved nor failed, and a batch reads a million of them.
    current = parse_hops(_text(row.cq_hops) or "").current if row.cq_hops else 0
    candidate = candidates[current] if current < len(candidates) else None
    job = Job(
        id=job_id,
        state=row.state,
        queue=row.queue,
        lane=row.queue.rpartition(".")[2],
        requested_model=_str(info.get("model")),
        candidate=candidate,
        attempts=rq_layout.parse_int(row.cq_attempts) or 0,
        created_at=rq_layout.parse_date(row.created_at),
        started_at=rq_layout.parse_date(row.started_at),
        ended_at=rq_layout.parse_date(row.ended_at),
        waits_until=detail if row.is_parked else None,
        wait_reason=_wait_reason(row),
        response=response,
        error=error if row.state.is_terminal or row.is_parked else None,
        client=_str(info.get("client")),
        source=_str(info.get("source")),
        metadata=metadata if isinstance(metadata, dict) else {},
        worker=_text(row.worker_name),
        candidates=candidates,
        chain=_chain(info, current, candidate) if "chain" in info else [],
        attempts_log=list(_failed_calls(row.cq_tries)) if row.cq_tries else [],
    )
    if response is not None and not row.is_stock:
        job.attempts_log.append(_answering_call(job, response))
    return job


def _chain(info: dict[str, Any], current: int, candidate: Candidate | None) -> list[str]:
    """The decisions of groups; those without a rating once no selector has answered (`shared/job_record.py`).

    Args:
        current: Place of the candidate that the job is at; of one that moved on, that is the chain's end.
    """
    selection = info.get("selection")
    selectors = selection.get("selectors") if isinstance(selection, dict) else None
    is_unrated = isinstance(selectors, int) and current >= selectors
    chain = _texts(info.get("unrated_chain" if is_unrated else "chain"))
    chain += _texts(info.get("fallback_chain"))
    chosen = selectors if is_unrated else 0
    if candidate is None or current == chosen:
        return chain
    return [*chain, f"moved on to {candidate.provider}/{candidate.model}"]


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _failed_calls(raw: bytes) -> Iterator[Attempt]:
    """The calls that did not end their job well: a JSON object a line, as the worker's telemetry has it."""
    for line in raw.split(b"\n"):
        if fields := read_object(line):
            started_at, duration_s = read_number(fields.get("at")), read_number(fields.get("duration_s"))
            yield Attempt(
                number=_int(fields.get("attempt")),
                candidate=_candidate([fields.get("provider"), fields.get("model")]),
                started_at=started_at,
                duration_s=duration_s,
                status=_int(fields.get("status")),
                error=_str(fields.get("error")),
                maybe_billed=fields.get("maybe_billed") is True,
                rates_for=_str(fields.get("rates_for")),
                **_usage(fields),
            )


def _answering_call(job: Job, response: dict[str, Any]) -> Attempt:
    """The last call of a completed job: it stands in the answer's `chatq` record."""
    record = response.get("chatq")
    record = record if isinstance(record, dict) else {}
    usage = record.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Attempt(
        number=job.attempts,
        candidate=_candidate([record.get("provider"), record.get("upstream_model")]) or job.candidate,
        started_at=job.started_at,
        duration_s=read_number(record.get("latency_s")),
        status=200,
        error=None,
        maybe_billed=True,
        **_usage({**usage, "cost_usd": record.get("cost_usd", usage.get("cost_usd"))}),
    )


def _usage(fields: dict[str, Any]) -> _Usage:
    return {
        "input_tokens": _int(fields.get("input_total")),
        "output_tokens": _int(fields.get("output_total")),
        "cost_usd": read_number(fields.get("cost_usd")),
    }


def _outcome(row: _Row, detail: Any) -> tuple[dict[str, Any] | None, JobError | None]:
    """(answer, error): of an ended job one of them, of another one its last error, if any."""
    stored, text = row.cq_result, None
    if row.is_stock:
        try:
            stored, text = rq_layout.decode_result_entry(detail[0][1] if detail else {})
        except ValueError as exc:
            return None, JobError("corrupt_job", f"the job's result in Redis cannot be read: {exc}")
    if row.state is JobState.COMPLETED:
        response = _json_object(stored)
        return response, None if response else JobError(
            "corrupt_job", "the job's answer in Redis is unreadable"
        )
    if row.is_stock:
        last_line = ((text or "").strip() or "the job failed outside chatq").splitlines()[-1]
        return None, JobError("failed_outside_chatq", last_line[:500])
    return None, _error(row.cq_error) if row.cq_error is not None else None


def _error(raw: bytes) -> JobError:
    fields = _json_object(raw)
    if fields is None:
        return JobError("corrupt_job", "the job's error in Redis is unreadable")
    status = fields.get("status")
    return JobError(
        str(fields.get("code", "failed")),
        str(fields.get("message", "")),
        status=status if isinstance(status, int) else None,
        provider=_str(fields.get("provider")),
        upstream_model=_str(fields.get("upstream_model")),
    )


def read_candidates(info: dict[str, Any]) -> list[Candidate]:
    """All candidates of a job's `cq_info`; none if one of them cannot be read, because places count."""
    pairs = info.get("candidates")
    found = [_candidate(pair) for pair in pairs] if isinstance(pairs, list) else []
    known = [candidate for candidate in found if candidate is not None]
    return known if len(known) == len(found) else []


def _candidate(pair: Any) -> Candidate | None:
    match pair:
        case [str(provider), str(model)]:
            return Candidate(provider, model)
        case _:
            return None


def _wait_reason(row: _Row) -> WaitReason | None:
    if row.status == b"queued":
        return WaitReason.READY
    return (read_reason(_text(row.cq_wait)) or WaitReason.BACKOFF) if row.is_parked else None


def _json_object(raw: bytes | None) -> dict[str, Any] | None:
    """A JSON object with something in it; None for anything else."""
    try:
        value = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        return None
    return value if value and isinstance(value, dict) else None


def _text(raw: bytes | None) -> str | None:
    return raw.decode(errors="replace") if raw else None


def _str(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
