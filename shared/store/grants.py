"""Grants: a worker's exclusive, leased hold on a job, from claim to settle.

A grant is named by job id and token (`<epoch>-<nonce>`). Its lease is the member `<id>:<token>` in
`chatq:leases`: removing that member is the fence that every later step goes through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from shared.job import Lane, WaitReason
from shared.store import rq_layout
from shared.store.connect import Store
from shared.store.pipe import Arg

Mirror = Literal["light", "full"]
OutcomeKind = Literal["completed", "failed", "expired", "cancelled", "stopped"]
ReleaseReason = Literal["backoff", "rate_limited", "next", "unrated", "misrated", "elsewhere", "drain"]
"""`backoff`: try again here. `rate_limited`: wait until the limit lets go. `next`: this candidate will never do.
`unrated`: the selector gave no rating. `misrated`: its rating leads nowhere. `elsewhere`: it keeps failing.
`drain`: the worker stops. See `lua/release_jobs.lua`."""


class Hops(NamedTuple):
    """The way of a job over its candidates (`cq_hops`, see `lua/lib/failover.lua`)."""

    current: int = 0
    """Index of the candidate it is at."""
    visited: frozenset[int] = frozenset({0})
    attempts_before: int = 0
    """Attempts it had when it came here."""


FIRST_HOP = Hops()

_HOP = re.compile(r"(\d{1,4})@(\d{1,6})x?")


def parse_hops(text: str) -> Hops:
    """The way that `cq_hops` describes; one that is absent or unreadable begins at the first candidate."""
    hops = _HOP.findall(text)
    if not hops:
        return FIRST_HOP
    current, attempts_before = hops[-1]
    visited = frozenset(int(index) for index, _ in hops)
    return Hops(int(current), visited, int(attempts_before))


class Held(NamedTuple):
    """What kept a job waiting."""

    scope: str
    """`provider`, `account`, `model` or `client`: whose limit or closure it was."""
    reason: WaitReason


_HELD = {
    f"{scope}_{word}": Held(scope, reason)
    for scope in ("provider", "account", "model", "client")
    for word, reason in {
        "rate": WaitReason.RATE_LIMITED,
        "concurrency": WaitReason.CONCURRENCY,
        "cooldown": WaitReason.COOLDOWN,
        "breaker": WaitReason.BREAKER,
    }.items()
}
"""By the word for it (`remember_hold` in `lua/lib/lots.lua`)."""


class Grant(NamedTuple):
    """One job, granted. Times are Unix seconds on Redis's clock; `data` and `info` are untrusted."""

    job_id: str
    token: str
    queue: str
    data: bytes
    """RQ's serialized call; empty when it was over the size limit."""
    info: bytes
    attempts: int
    """Calls counted, this one included, unless the deadline has already passed."""
    max_attempts: int
    """0 = the job does not say (enqueued with plain RQ)."""
    deadline_at: float | None
    enqueued_at: float | None
    claimed_at: float
    rate_limit_waits: int
    """How often a 429 has sent it back so far."""
    reserved: int = 0
    """Tokens booked for the call."""
    abandoned: int = 0
    """How often its worker died while it ran; from the second on it goes through the quarantine."""
    hops: Hops = FIRST_HOP
    """The candidates it has been to."""
    held_by: Held | None = None
    """What held it back last while it waited, if a limit or a closure did."""

    @property
    def member(self) -> str:
        """The grant's name in `chatq:leases` and `rq:wip:<queue>`."""
        return f"{self.job_id}:{self.token}"


def _whole(digits: bytes | None) -> int:
    """A whole number as it stands in a job's hash; 0 for what is none."""
    return int(digits) if digits and digits.isdigit() and len(digits) < 16 else 0


def _grant(
    now_s: float,
    job_id: bytes,
    token: bytes,
    queue: bytes,
    reserved: int,
    past: bytes,
    deadline_ms: bytes | None,
    max_attempts: bytes | None,
    data: bytes | None,
    info: bytes | None,
    enqueued_at: bytes | None,
) -> Grant:
    """A grant as `lua/claim_jobs.lua` writes it."""
    enqueued_s = rq_layout.parse_date(enqueued_at or b"")
    attempts, waits, abandoned, hops, held_by, held_at = 1, 0, 0, FIRST_HOP, None, 0.0
    if past:
        counted, waited, lost, hold, at_us, way = past.decode(errors="replace").split(" ", 5)
        attempts, waits, abandoned, hops = int(counted), int(waited), int(lost), parse_hops(way)
        held_by, held_at = _HELD.get(hold), int(at_us) / 1e6
    return Grant(  # by place: with names it takes three times as long
        job_id.decode(),
        token.decode(),
        queue.decode(),
        data or b"",
        info or b"",
        attempts,
        _whole(max_attempts),
        _whole(deadline_ms) / 1000 or None,
        enqueued_s,
        now_s,
        waits,
        reserved,
        abandoned,
        hops,
        held_by if enqueued_s is not None and enqueued_s < held_at else None,
    )


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim brought.

    Attributes:
        has_more: Whether more could be granted at once.
        look_again_s: When a limit or a closure lets go, in seconds from now; None = nothing waits for a time.
        is_suspended: RQ's suspend is on.
    """

    grants: list[Grant]
    has_more: bool = False
    look_again_s: float | None = None
    is_suspended: bool = False


def _claimed(now_us: int, has_more: int, look_again_ms: int, *jobs: Sequence[Any]) -> Claimed:
    """The reply to a claim."""
    now_s = now_us / 1e6
    return Claimed(
        [_grant(now_s, *job) for job in jobs],
        has_more=has_more > 0,
        look_again_s=look_again_ms / 1000 if look_again_ms >= 0 else None,
        is_suspended=has_more < 0,
    )


def read_handed(message: bytes) -> tuple[str, Claimed | None]:
    """What a worker is told of its claim that somebody else made: its nonce, and what it brought.

    None = it is to be fetched: the same claim, sent again, gets it. So does what cannot be read.
    """
    head, _, fields = message.partition(b"\n")
    nonce, *words = head.decode(errors="replace").split(" ")
    try:
        now_us, has_more, look_again_ms, *lengths = words
        row: list[Any] = []
        at = 0
        for length in lengths:
            row.append(None if length == "-" else fields[at : at + int(length)])
            at += len(row[-1] or b"")
        if row:
            row[3] = int(row[3])
        return nonce, _claimed(int(now_us), int(has_more), int(look_again_ms), *([row] if row else []))
    except (ValueError, TypeError, IndexError):
        return nonce, None


@dataclass(slots=True)
class Load:
    """What a worker runs of one provider's jobs."""

    in_flight: int = 0
    in_quarantine: int = 0
    """Suspects running; `QUARANTINE_FULL` = take no further one."""


QUARANTINE_FULL = 4


class Outcome(NamedTuple):
    """How a grant ended, on its way into the store.

    Attributes:
        value: Result or error as JSON.
        shown: What the call showed (`CallResult.encode`), empty when no call was made.
        attempt_event: Telemetry of the call as JSON, empty when no call was made.
        outcome_event: Telemetry of the job as JSON.
    """

    grant: Grant
    kind: OutcomeKind
    value: bytes
    attempt_event: bytes
    outcome_event: bytes
    shown: bytes = b""


class Release(NamedTuple):
    """A grant given back.

    Attributes:
        delay_ms: The backoff, or for a limit the wait; 0 = none.
        gives_attempt_back: It was no failed attempt: a rate limit, no socket for the call, or a drain.
        error: Why, as JSON, or empty.
        late_error: The error (JSON) the job ends with if its wait would end after its deadline.
        shown: As `Outcome.shown`.
    """

    grant: Grant
    reason: ReleaseReason
    delay_ms: int
    gives_attempt_back: bool
    error: bytes
    attempt_event: bytes
    shown: bytes = b""
    late_error: bytes = b""


class Routed(NamedTuple):
    """A grant whose selector has answered: its job goes on to the target that was chosen.

    Attributes:
        info: What stands beside the request from now on (`NewJob.info_json`).
        route: The candidates from now on, the chosen one first (`lua/lib/failover.lua`), as JSON.
        attempt_event: Telemetry of the rating call as JSON, empty when no call was made.
        shown: As `Outcome.shown`.
    """

    grant: Grant
    info: bytes
    route: bytes
    attempt_event: bytes
    shown: bytes = b""


Settlement = Outcome | Release | Routed
"""What an attempt leaves to be settled."""


class GrantStore:
    """The worker's access to jobs. All calls are safe to repeat.

    Args:
        worker: The worker's name in RQ's registry.
        max_data_bytes: Larger payloads are not handed out.
        lanes: Lane weights, the most urgent lane first.
        max_events: Length of the telemetry stream; 0 = off.
        expired_error: The error (JSON) of a job whose deadline passed before it was called.
    """

    def __init__(
        self,
        store: Store,
        *,
        worker: str,
        lease_s: float,
        max_data_bytes: int,
        mirror: Mirror,
        lanes: Mapping[Lane, int],
        max_events: int,
        expired_error: bytes,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._max_events = max_events
        weights = [word for lane, weight in lanes.items() for word in (lane.value, weight)]
        self._worker = worker
        self._terms: tuple[Arg, ...] = (
            int(lease_s * 1000),
            max_data_bytes,
            mirror,
            max_events,
            expired_error,
        )
        self._lanes: tuple[Arg, ...] = (len(lanes), *weights)

    async def claim(self, *, nonce: str, want: int, load: Mapping[str, Load], stands_s: float = 0) -> Claimed:
        """Take up to `want` jobs that the limits let through.

        Args:
            nonce: Fresh after grants, else the same again: a claim that is sent again gets the same grants.
            load: What this worker runs now, for each provider served.
            stands_s: How long the claim stands if nothing waits, in seconds: whoever enqueues a job meanwhile may
                have it made, once, and the worker hears of it (`read_handed`).

        Raises:
            StoreUnavailable: No answer; send the same claim again.
        """
        providers = [word for name, now in load.items() for word in (name, now.in_flight, now.in_quarantine)]
        args = (self._worker, nonce, want, *self._terms, int(stands_s * 1000), *self._lanes, *providers)
        return _claimed(*await self._store.run("claim_jobs", args))

    async def withdraw(self, *, nonce: str) -> Claimed:
        """See to it that the claim of this nonce stands no longer. Returns what it was granted before.

        Raises:
            StoreUnavailable: No answer at once.
        """
        args = (self._worker, nonce, 0, *self._terms, "withdraw", *self._lanes)
        return _claimed(*await self._store.run("claim_jobs", args, retry_s=0))

    async def finalize(self, outcomes: Sequence[Outcome], *, retry_s: float) -> list[str]:
        """Store outcomes. Returns a code each: ok, same, salvaged, stale, revoked, gone, broken.

        Raises:
            StoreUnavailable: No answer within `retry_s`; send the same outcomes again, never the calls.
        """
        args: list[Arg] = [self._mirror, self._max_events]
        for o in outcomes:
            args += (
                o.grant.job_id, o.grant.token, o.kind, o.value, o.attempt_event, o.outcome_event,
                self._mirrored(o), o.grant.queue, o.shown,
            )  # fmt: skip
        return [code.decode() for code in await self._store.run("finalize_jobs", args, retry_s=retry_s)]

    async def route(self, routed: Sequence[Routed], *, retry_s: float) -> list[str]:
        """Send jobs on to the targets chosen for them. Returns a code each: moved, stale, revoked, gone, broken.

        Raises:
            StoreUnavailable: No answer within `retry_s`; send the same again.
        """
        args: list[Arg] = [self._max_events]
        for r in routed:
            args += (
                r.grant.job_id, r.grant.token, r.grant.queue, r.attempt_event, r.shown, r.info, r.route,
            )  # fmt: skip
        return [code.decode() for code in await self._store.run("route_jobs", args, retry_s=retry_s)]

    def _mirrored(self, outcome: Outcome) -> bytes:
        """The value as RQ's result stream holds it; nothing in the light mirror."""
        if self._mirror == "light":
            return b""
        if outcome.kind == "completed":
            return rq_layout.encode_result(outcome.value)
        return rq_layout.encode_traceback(outcome.value.decode())

    async def release(self, releases: Sequence[Release], *, retry_s: float) -> list[str]:
        """Give grants back. Returns a code each: ok, moved, failed, stale, revoked, gone, broken.

        Raises:
            StoreUnavailable: No answer within `retry_s`; send the same again.
        """
        args: list[Arg] = [self._max_events]
        for r in releases:
            args += (
                r.grant.job_id, r.grant.token, r.reason, r.delay_ms, int(r.gives_attempt_back),
                r.error, r.attempt_event, r.grant.queue, r.shown, r.late_error,
            )  # fmt: skip
        return [code.decode() for code in await self._store.run("release_jobs", args, retry_s=retry_s)]
