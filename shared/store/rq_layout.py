"""RQ's format of a job: fields of the hash, dates, states, the serialized call.

Facts of RQ 2.x (rq-internals.md §3), kept as constants; a contract test holds them to the installed RQ.
chatq's own fields in the same hash: `cq_info` (JSON, `shared/job_record.py`: requested model, candidates …),
`cq_digest`, `cq_max`, `cq_deadline` (Unix ms), `cq_cost` (what it asks of limits), `cq_route` (its candidates, if
several), `cq_hops` (which of them it has been to), `cq_epoch`, `cq_token`, `cq_attempts`, `cq_limited`,
`cq_drained`, `cq_abandoned`, `cq_tries` (its failed calls, a JSON object a line), `cq_wait`, `cq_notify`,
`cq_state`, `cq_result`, `cq_error`, `cq_replayed`, `cq_streamed` (the token of the attempt
whose answer has deltas), `cq_told:<token>` (a late call that was counted). RQ keeps
fields it does not know.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from shared.job import JobState

FUNCTION = "worker.tasks.chat"
"""The only function name accepted from Redis; a stock `rq worker` imports it too."""

MAX_RESULT_BYTES = 16 * 1024 * 1024
"""Longest error text of a stock worker, decompressed: a few kB of zlib may claim to be gigabytes."""

_STATES = {
    "created": JobState.QUEUED,
    "queued": JobState.QUEUED,
    "deferred": JobState.QUEUED,
    "scheduled": JobState.QUEUED,
    "started": JobState.IN_PROGRESS,
    "finished": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "stopped": JobState.CANCELLED,
    "canceled": JobState.CANCELLED,
}
"""RQ status → public state; `cq_state` is finer and goes first (an expired job is `failed` to RQ)."""


LONGEST_WORD = 32
"""Of a status or state, in bytes; what is longer is none."""


def state_of(status: bytes, fine: bytes | None) -> JobState:
    """The public state from RQ's status and chatq's finer word.

    `cq_state` counts only for ended jobs: RQ's own requeue resets the status and leaves our field behind.
    """
    # Cut: what strangers wrote is not kept in memory as a whole.
    return _known_state(status[:LONGEST_WORD], fine and fine[:LONGEST_WORD])


@lru_cache(maxsize=256)
def _known_state(status: bytes, fine: bytes | None) -> JobState:
    state = _STATES.get(status.decode(errors="replace"), JobState.QUEUED)
    if not fine or not state.is_terminal:
        return state
    try:
        return JobState(fine.decode(errors="replace"))
    except ValueError:
        return state  # no word of ours: somebody else wrote it


def state_named(word: str) -> JobState | None:
    """The public state that a word of chatq's or of RQ's means; None for a word of neither."""
    try:
        return JobState(word)
    except ValueError:
        return _STATES.get(word)


def encode_call(request_json: bytes) -> bytes:
    """RQ's JSON 4-list `[function, instance, args, kwargs]` around a request, uncompressed."""
    return b'["%s",null,[%s],{}]' % (FUNCTION.encode(), request_json)


def decode_call(data: bytes, *, max_bytes: int) -> Any:
    """The request inside a serialized call; untrusted.

    Args:
        data: The hash field `data`, plain or zlib-compressed as RQ writes it.
        max_bytes: Largest size after decompression.

    Raises:
        ValueError: Too large, not JSON, another function, or other arguments; the text says which.
    """
    if data[:1] == b"\x78":
        data = _inflate(data, max_bytes=max_bytes)
    if not data or len(data) > max_bytes:
        raise ValueError(f"data is empty or over {max_bytes:,} bytes")
    try:
        call = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise ValueError(f"data is not JSON ({exc}); enqueue with rq.serializers.JSONSerializer") from None
    match call:
        case [str(function), None, [request], dict()] if function == FUNCTION:
            return request
        case [str(function), *_] if function != FUNCTION:
            raise ValueError(f"function {function[:80]!r} is not allowed; only {FUNCTION}")
        case _:
            raise ValueError(f"data is not a call of {FUNCTION} with one request")


def _inflate(data: bytes, *, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data, max_bytes)
    except zlib.error as exc:
        raise ValueError(f"data is neither JSON nor zlib: {exc}") from None
    if inflater.unconsumed_tail:
        raise ValueError(f"data is over {max_bytes:,} bytes")
    return inflated


def parse_int(value: bytes | None) -> int | None:
    """A whole number as Redis holds it; None for absent or unreadable."""
    try:
        return int(value) if value else None
    except ValueError:
        return None


def parse_date(value: bytes | None) -> float | None:
    """An RQ date (`2026-01-02T03:04:05.678901Z`) as Unix seconds; None for absent or unreadable."""
    if not value:
        return None
    try:
        return datetime.fromisoformat(value.decode()).timestamp()
    except (ValueError, OverflowError):  # the second from a time without zone, far from today
        return None


def format_date(at: float) -> str:
    """Unix seconds as RQ writes dates."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def encode_result(value_json: bytes) -> bytes:
    """A return value as RQ's result stream holds it: base64 of the serializer's output."""
    return base64.b64encode(value_json)


def encode_traceback(text: str) -> bytes:
    """An error text as RQ's result stream holds it: base64 of zlib."""
    return base64.b64encode(zlib.compress(text.encode()))


def decode_result_entry(fields: Mapping[bytes, bytes]) -> tuple[bytes | None, str | None]:
    """(return value JSON, error text) of one entry of a result stream; for jobs a stock worker ran. Untrusted.

    Raises:
        ValueError: Not base64 of JSON or zlib, or over `MAX_RESULT_BYTES`; the text says which.
    """
    value = fields.get(b"return_value")
    trace = fields.get(b"exc_string")
    text = None
    if trace is not None:
        text = _inflate(base64.b64decode(trace), max_bytes=MAX_RESULT_BYTES).decode(errors="replace")
    return base64.b64decode(value) if value is not None else None, text
