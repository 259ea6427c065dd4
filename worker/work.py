"""Work: a granted job, opened and checked. Redis content is untrusted, so this is an edge like the producer's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from shared.chat import ChatRequest, parse_request
from shared.errors import ChatqError
from shared.job import Candidate
from shared.job_record import read_candidates, read_selection
from shared.labels import check_label
from shared.routing import Router, Selection
from shared.store import rq_layout
from shared.store.grants import Grant


@dataclass(frozen=True, slots=True)
class Work:
    """One job, ready to be sent."""

    request: ChatRequest
    candidates: tuple[Candidate, ...]
    """All it may be sent to, in order of preference."""
    candidate: Candidate
    """The one it is at."""
    requested_model: str
    client: str | None
    source: str | None
    batch: str | None = None
    """The run it belongs to."""
    selection: Selection | None = None
    """The rating that this call is for; None = it is the job's own call."""
    tags: tuple[str, ...] = ()
    """The caller's, for groups; of a job that wants a rating."""
    is_streamed: bool = False
    """Its answer is to be written down piece by piece."""

    def headers(self, grant: Grant) -> dict[str, str]:
        """Labels for the upstream's log: which job, which attempt, on whose behalf."""
        labels = {"X-Chatq-Job": grant.job_id, "X-Chatq-Attempt": str(grant.attempts)}
        if self.source:
            labels["X-Source"] = self.source
        return labels


CACHED_BYTES = 512
"""Longest record that is kept: one with metadata is the job's own."""


class CorruptJob(ChatqError):
    """What stands in Redis under this id cannot be a chat job; the message says why."""

    code = "corrupt_job"


def open_work(grant: Grant, router: Router, *, max_bytes: int) -> Work:
    """Decode and validate a grant's payload.

    A job enqueued with plain RQ carries no routing: it is routed here, and must route to its queue's provider.

    Raises:
        CorruptJob: Not a call of chatq's function, too large, or on the wrong queue.
        InvalidRequest: The chat request in it is wrong.
        ProviderNotFound: Its model routes to a provider that is not registered.
    """
    try:
        request = parse_request(rq_layout.decode_call(grant.data, max_bytes=max_bytes))
    except ValueError as exc:
        raise CorruptJob(str(exc)) from None
    record = _known_record(grant.info) if len(grant.info) <= CACHED_BYTES else _read_record(grant.info)
    candidates = record.candidates or router.resolve(request.model).candidates[:1]
    selection, tags = record.selection or (None, ())
    if selection is not None and grant.hops.current >= len(selection.candidates):
        selection = None  # no selector answered: this is where the job goes without a rating
    if grant.hops.current >= len(candidates):
        raise CorruptJob(f"the job is at candidate {grant.hops.current} of {len(candidates)}")
    candidate = candidates[grant.hops.current]
    if candidate.provider != grant.queue.rpartition(".")[0]:
        raise CorruptJob(f"the job routes to {candidate.provider!r} but waited in queue {grant.queue!r}")
    return Work(
        request,
        candidates,
        candidate,
        request.model,
        record.client,
        record.source,
        record.batch,
        selection,
        tags,
        record.is_streamed,
    )


class _Record(NamedTuple):
    """What the producer wrote beside the request (`cq_info`)."""

    candidates: tuple[Candidate, ...] | None
    client: str | None
    source: str | None
    batch: str | None
    selection: tuple[Selection, tuple[str, ...]] | None
    is_streamed: bool


def _read_record(info: bytes) -> _Record:
    """The record.

    Raises:
        CorruptJob: It is not what a producer writes.
        InvalidRequest: A label in it is wrong.
    """
    try:
        fields = orjson.loads(info) if info else {}
    except ValueError as exc:
        raise CorruptJob(str(exc)) from None
    if not isinstance(fields, dict):
        raise CorruptJob("cq_info is not a JSON object")
    try:
        candidates = read_candidates(fields["candidates"]) if "candidates" in fields else None
        selection = read_selection(fields["selection"], candidates or ()) if "selection" in fields else None
    except ValueError as exc:
        raise CorruptJob(str(exc)) from None
    return _Record(
        candidates or None,
        _label(fields, "client"),
        _label(fields, "source"),
        _label(fields, "batch"),
        selection,
        fields.get("stream") is True,
    )


_known_record = lru_cache(maxsize=1024)(_read_record)
"""The same from memory: jobs of a kind share its bytes."""


def _label(info: dict[str, Any], field: str) -> str | None:
    value = info.get(field)
    return None if value is None else check_label(value, field=field)
