"""Evidence: what can be seen of a run from outside. Nothing here knows chatq's code, only its keys in Redis.

Times are Unix seconds; everything runs on one machine, so Redis, the simulators and the test share a clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import redis

from tests.chaos.vitals import Course

COMPLETED = frozenset({"completed"})


class Call(Protocol):
    """One line of a simulator's log."""

    job: str | None
    attempt: str | None
    model: str | None
    digest: str | None
    source: str | None
    """The worker, where the run told it apart."""
    status: int | None
    fault: str | None
    arrived_at: float
    ended_at: float
    started_s: float | None
    ended_s: float
    charged_tokens: int
    prompt_tokens: int
    output_tokens: int


@dataclass
class Ask:
    """One job as its producer knows it.

    Attributes:
        text: The prompt.
        digests: What an answer may hold: one digest a candidate.
        sent_at, acked_at: Around the submit.
        expires_in_s: The deadline, if there is one.
        may_end: The states it may end in.
        cancelled_at: When a cancel was acknowledged.
        cancel_state: The state that the acknowledgement named.
    """

    id: str
    text: str
    digests: frozenset[str]
    sent_at: float
    acked_at: float
    client: str = "default"
    lane: str = "default"
    expires_in_s: float | None = None
    may_end: frozenset[str] = COMPLETED
    cancelled_at: float | None = None
    cancel_state: str | None = None
    is_foreign: bool = False
    """RQ's own tools ended it: no counter and no event of chatq's tells of that."""


@dataclass(frozen=True)
class Blow:
    """A worker that was killed or stopped, with the jobs it held."""

    at: float
    pid: int
    fault: str
    held: frozenset[str]


@dataclass(frozen=True)
class Lease:
    """A grant as it was seen in Redis."""

    job: str
    token: str
    worker: str


@dataclass(frozen=True)
class Delay:
    """What was granted from `since` on may have reached its upstream as late as `until`. Unix seconds.

    Attributes:
        worker: Whose calls; None: anybody's.
    """

    since: float
    until: float
    worker: str | None = None


@dataclass(frozen=True)
class Orphans:
    """From `since` on a worker's leases may have run out, and its slots may be others', while its calls go on.

    That is so for the calls it sends until `until`. Unix seconds.
    """

    since: float
    until: float
    worker: str


@dataclass
class Declared:
    """What the faults of a run may lead to. Said by who injects them, never inferred from what happened.

    Attributes:
        failures: Error codes that a job may fail with.
        lost: Ids that may vanish, with all that is known of them.
        goes_back: Redis travelled back in time: attempts, events and totals of what it forgot are gone.
        longest_gap_s: How long no job may end while some wait.
        deadline_slack_s, cancel_slack_s: How late after its deadline or its cancel a call may still arrive.
        lease_slack_s: How long a lease may be overdue before somebody takes the job over.
        recovery_s: Longest time until a blow's jobs go on elsewhere.
        delays: Calls that came later than they were granted.
        orphans: Calls without a slot.
        ledger_lost: From when to when (Unix seconds) nobody knew what was booked: Redis had lost it.
        overcharged: From when to when an upstream counted tokens of calls that it turned away with an injected
            429, and so refused calls early. chatq books nothing for what a limit turns away.
    """

    failures: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    goes_back: bool = False
    longest_gap_s: float = 12.0
    deadline_slack_s: float = 0.25
    cancel_slack_s: float = 0.25
    lease_slack_s: float = 12.0
    recovery_s: float = 45.0
    delays: list[Delay] = field(default_factory=list)
    orphans: list[Orphans] = field(default_factory=list)
    ledger_lost: list[tuple[float, float]] = field(default_factory=list)
    overcharged: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Limit:
    """What the calls to one upstream, or for one client, may use; None = any number.

    Attributes:
        slice_s: Burst: the allowance of this many seconds may be used at once.
    """

    upstream: str | None = None
    client: str | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    slice_s: float = 0.5

    @property
    def name(self) -> str:
        return self.upstream or f"client {self.client}"

    @property
    def numbers(self) -> dict[str, int]:
        """Those that there are."""
        numbers = {"rpm": self.rpm, "tpm": self.tpm, "concurrency": self.concurrency}
        return {name: number for name, number in numbers.items() if number is not None}


@dataclass
class Snapshot:
    """Redis at rest.

    Attributes:
        jobs: Id → fields of its hash, without the payload.
        keys: Every key → (type, TTL in s or -1, number of entries).
        attempts, outcomes: The telemetry stream.
        ended_at: When outcomes came, by job id.
        totals: Counters since the store was created.
        texts: Everything else that is stored, for a look at secrets.
    """

    jobs: dict[str, dict[str, str]]
    keys: dict[str, tuple[str, int, int]]
    attempts: list[dict[str, Any]]
    outcomes: list[dict[str, Any]]
    ended_at: dict[str, float]
    totals: dict[str, int]
    texts: str


@dataclass
class Evidence:
    """All there is about one run."""

    asks: dict[str, Ask]
    calls: dict[str, Sequence[Call]]
    """By upstream."""
    snapshot: Snapshot
    declared: Declared
    in_doubt: set[str] = field(default_factory=set)
    """Ids whose submit was not acknowledged."""
    sightings: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Id → state and text of its first ended sighting."""
    breaches: list[str] = field(default_factory=list)
    """What pollers saw that may not be."""
    leases: set[Lease] = field(default_factory=set)
    most_overdue_s: float = 0.0
    blows: list[Blow] = field(default_factory=list)
    logs: str = ""
    limits: list[Limit] = field(default_factory=list)
    courses: list[Course] = field(default_factory=list)
    """What processes held that lived all the time."""

    def error_code(self, job_id: str) -> str:
        """The code of a job's error; empty without one."""
        error = json.loads(self.snapshot.jobs[job_id].get("cq_error") or "{}")
        return str(error.get("code", ""))

    def all_calls(self) -> list[Call]:
        return [call for calls in self.calls.values() for call in calls]

    def calls_under(self, limit: Limit) -> list[Call]:
        """The calls that a limit is for."""
        if limit.upstream is not None:
            return list(self.calls[limit.upstream])
        asks = self.asks
        return [
            call for call in self.all_calls() if call.job in asks and asks[call.job].client == limit.client
        ]


FIELDS = (
    "status", "cq_state", "cq_result", "cq_error", "cq_attempts", "cq_max", "cq_abandoned", "cq_drained",
    "cq_limited",    "cq_tries", "cq_deadline", "cq_epoch", "cq_token", "worker_name", "origin", "cq_hops",
)  # fmt: skip


def take_snapshot(client: redis.Redis) -> Snapshot:
    """Read everything, in pipelines of a thousand keys."""
    names = sorted(client.scan_iter(count=2000))
    jobs, keys, texts = {}, {}, []
    for start in range(0, len(names), 1000):
        part = names[start : start + 1000]
        pipe = client.pipeline(transaction=False)
        for name in part:
            pipe.type(name)
            pipe.ttl(name)
        replies = pipe.execute()
        for name, kind, ttl in zip(part, replies[::2], replies[1::2], strict=True):
            keys[name] = (kind, ttl)
        pipe = client.pipeline(transaction=False)
        ids = [
            name.removeprefix("rq:job:")
            for name in part
            if name.startswith("rq:job:") and keys[name][0] == "hash"
        ]
        for job_id in ids:
            pipe.hmget(f"rq:job:{job_id}", FIELDS)
        for job_id, values in zip(ids, pipe.execute(), strict=True):
            jobs[job_id] = {f: v for f, v in zip(FIELDS, values, strict=True) if v is not None}
    sizes = {
        name: _size(client, name, kind) for name, (kind, _) in keys.items() if not name.startswith("rq:job:")
    }
    texts = [_text(client, name, keys[name][0]) for name in sizes]
    attempts, outcomes, ended_at = _events(client)
    totals = {name: int(value) for name, value in client.hgetall("chatq:totals").items()}
    found = {name: (*about, sizes.get(name, 1)) for name, about in keys.items()}
    return Snapshot(jobs, found, attempts, outcomes, ended_at, totals, "\n".join(texts))


def _events(client: redis.Redis) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, float]]:
    attempts, outcomes, ended_at = [], [], {}
    for entry, fields in client.xrange("chatq:events"):
        if "attempt" in fields:
            attempts.append(json.loads(fields["attempt"]))
        if "outcome" in fields:
            outcome = json.loads(fields["outcome"])
            outcomes.append(outcome)
            ended_at.setdefault(outcome["job"], int(entry.partition("-")[0]) / 1000)
    return attempts, outcomes, ended_at


def _size(client: redis.Redis, name: str, kind: str) -> int:
    match kind:
        case "list":
            return int(client.llen(name))
        case "set":
            return int(client.scard(name))
        case "zset":
            return int(client.zcard(name))
    return 1


def _text(client: redis.Redis, name: str, kind: str) -> str:
    match kind:
        case "string":
            value: Any = client.get(name)
        case "hash":
            value = client.hgetall(name)
        case "set":
            value = client.smembers(name)
        case "stream":
            value = client.xrange(name)
        case _:
            value = ""
    return f"{name} {value}"


class Journal:
    """The history of a run, a JSON object a line; it is read by people, and kept when a run fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w")
        self._began_at = time.time()

    def write(self, what: str, **facts: Any) -> None:
        at = round(time.time() - self._began_at, 3)
        self._file.write(json.dumps({"at_s": at, "what": what, **facts}, default=_plain) + "\n")

    def write_all(self, what: str, items: Iterable[Mapping[str, Any]]) -> None:
        for item in items:
            self.write(what, **item)

    def close(self) -> None:
        self._file.close()


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return asdict(value)
