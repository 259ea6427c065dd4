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
    attempts: int
    """Calls started so far; waiting for a limit does not count."""
    created_at: float | None
    started_at: float | None = None
    ended_at: float | None = None
    waits_until: float | None = None
    """For a queued job that waits for its backoff or a rate limit: when it is due."""
    wait_reason: str | None = None
    """Why a queued job waits: `ready`, `backoff`, `rate_limited`."""
    response: dict[str, Any] | None = None
    """The ChatCompletion object with chatq's record under `chatq`; None unless completed."""
    error: JobError | None = None
    source: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    worker: str | None = None

    @property
    def text(self) -> str | None:
        """The content of the first choice, or None when there is no answer."""
        match self.response:
            case {"choices": [{"message": {"content": str(content)}}, *_]}:
                return content
            case _:
                return None
