"""Waiting: what holds a queued job back, until when, and how many jobs go before it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import orjson

from shared.job import Job, JobState, WaitReason
from shared.store.connect import Store
from shared.store.scopes import shown_scope


@dataclass(frozen=True, slots=True)
class Hold:
    """What lets no call through just now.

    Attributes:
        scope: What is held, as people write it (`scopes.py`).
        until: Unix seconds; None = until a call ends.
        dimension: Which limit is used up: `rpm`, `tpm`, `concurrency`, or `probes` of a breaker.
        limit: That limit as it is in force.
    """

    scope: str
    reason: WaitReason
    until: float | None = None
    dimension: str | None = None
    limit: float | None = None


async def explain_wait(store: Store, job: Job) -> Job:
    """The job with why it waits, its place and an ETA, if it is queued.

    Raises:
        StoreUnavailable: No answer from Redis.
    """
    if job.state is not JobState.QUEUED:
        return job
    found = read_object(await store.run("explain_job", [job.id]))
    reason = read_reason(found.get("reason"))
    if reason is None:  # it went on meanwhile, or what is known of it is broken
        return job
    scope = found.get("scope")
    until_ms, place, eta_ms = (read_number(found.get(name)) for name in ("until_ms", "place", "eta_ms"))
    return replace(
        job,
        wait_reason=reason,
        waits_until=until_ms / 1000 if until_ms is not None else None,
        held_by=shown_scope(scope) if isinstance(scope, str) else None,
        place=round(place) if place is not None else None,
        eta_s=eta_ms / 1000 if eta_ms is not None else None,
    )


def read_hold(value: Any) -> Hold | None:
    """A hold as `lua/lib/holds.lua` writes it; None for anything else."""
    if not isinstance(value, dict) or not isinstance(value.get("scope"), str):
        return None
    reason, dimension = read_reason(value.get("reason")), value.get("dimension")
    until_ms = read_number(value.get("until_ms"))
    if reason is None:
        return None
    return Hold(
        shown_scope(value["scope"]),
        reason,
        until_ms / 1000 if until_ms is not None else None,
        dimension if isinstance(dimension, str) else None,
        read_number(value.get("limit")),
    )


def read_reason(word: Any) -> WaitReason | None:
    """A reason, or None for a word that is none."""
    try:
        return WaitReason(word)
    except ValueError:
        return None


def read_number(value: Any) -> float | None:
    """A finite number, or None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


def read_object(raw: bytes | str | None) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        value = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
