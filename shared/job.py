"""The job: its states, lanes, candidates, and the view of it that pollers read."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson


class Lane(enum.StrEnum):
    """Which of a provider's queues a job waits in. Lanes share capacity by weight."""

    INTERACTIVE = "interactive"
    DEFAULT = "default"
    BATCH = "batch"


class JobState(enum.StrEnum):
    """The public state of a job, in OpenAI's words."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended; a terminal state never changes."""
        return self not in (JobState.QUEUED, JobState.IN_PROGRESS)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One upstream a job may be sent to."""

    provider: str
    model: str
    """The model's name at that provider, prefixes stripped."""


class WaitReason(enum.StrEnum):
    """Why a queued job waits."""

    READY = "ready"
    """Nothing holds it back but the jobs before it."""
    BACKOFF = "backoff"
    """Its last attempt failed; the next one is due at a set time."""
    RATE_LIMITED = "rate_limited"
    """A limit of requests or tokens is used up for the moment."""
    CONCURRENCY = "concurrency"
    """As many calls run as may run at the same time."""
    COOLDOWN = "cooldown"
    """The upstream asked everybody to wait."""
    BREAKER = "breaker"
    """Too many calls failed there: none is made for a while, then a few to try."""
    CREDENTIALS = "credentials"
    """Key, money or plan were refused there: the operator acts."""
    QUOTA = "quota"
    """The allowance of a plan, a day or a budget is used up there."""
    QUARANTINE = "quarantine"
    """Its worker died twice while it ran: it goes with few neighbours."""
    NO_WORKER = "no_worker"
    """No living worker serves its queue."""
    SUSPENDED = "suspended"
    """`rq suspend` holds all workers."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to an upstream, as its job remembers it. None where that is not known."""

    number: int | None
    """Counted from 1; a call that was turned away by a limit has the number of the next one."""
    candidate: Candidate | None
    started_at: float | None
    """Unix seconds on Redis's clock."""
    duration_s: float | None
    status: int | None
    """HTTP status of the answer."""
    error: str | None
    """Code of what went wrong; None for the call that answered."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    maybe_billed: bool = False
    """The request was sent, so the provider may charge for it."""
    rates_for: str | None = None
    """The group that had the job rated by this call; None = it was the job's own."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job ended without an answer, or why its last attempt failed."""

    code: str
    message: str
    status: int | None = None
    """HTTP status of the upstream's last answer, if there was one."""
    provider: str | None = None
    upstream_model: str | None = None

    def as_json(self) -> bytes:
        """As the job's hash keeps it."""
        return orjson.dumps(asdict(self))


WORKER_LOST = JobError("worker_lost", "its worker died in the only attempt allowed; the call may be billed")
POISON = JobError(
    "poison", "its workers died again and again while it ran, the last times with hardly a neighbour"
)
STREAM_BROKEN = JobError(
    "stream_broken",
    "its worker died while it streamed the answer; another answer would not go on where that one stopped",
)
EXPIRED = JobError("expired", "the deadline passed before the job was sent")
"""Ends that no worker's call decides."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a poller sees of a job at one moment. Times are Unix seconds on Redis's clock."""

    id: str
    state: JobState
    lane: str
    queue: str
    """The RQ queue: `<provider>.<lane>`."""
    requested_model: str | None
    candidate: Candidate | None
    """The one it is at, or ended at."""
    attempts: int
    """Calls started so far; waiting for a limit does not count."""
    created_at: float | None
    started_at: float | None = None
    ended_at: float | None = None
    waits_until: float | None = None
    """For a queued job that something holds back: when that lets go, as far as it is known."""
    wait_reason: WaitReason | None = None
    """Why a queued job waits. Read together with others, a job that is not waiting for its time is `ready`."""
    response: dict[str, Any] | None = None
    """The ChatCompletion object with chatq's record under `chatq`; None unless completed."""
    error: JobError | None = None
    client: str | None = None
    """Who submitted it."""
    source: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    worker: str | None = None
    candidates: list[Candidate] = field(default_factory=list)
    """All it may be sent to, in order of preference."""
    chain: list[str] = field(default_factory=list)
    """What groups decided, outermost first, down to the model they chose; empty when none was asked."""
    attempts_log: list[Attempt] = field(default_factory=list)
    """Its calls that ended, oldest first; of very many the latest ones."""
    held_by: str | None = None
    """What holds a queued job back: an account, `<account>/<model>`, `client:<id>` or `provider:<name>`.

    This and the next two are known of a job that is read alone."""
    place: int | None = None
    """About how many jobs go before it."""
    eta_s: float | None = None
    """About how long it waits until it is sent, by limits and the rate at which its queue drains."""

    @property
    def text(self) -> str | None:
        """The content of the first choice, or None when there is no answer."""
        match self.response:
            case {"choices": [{"message": {"content": str(content)}}, *_]}:
                return content
            case _:
                return None
