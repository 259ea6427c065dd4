"""The producer: accepts chat requests, routes them, enqueues them, and waits for their outcomes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.client import Producer
    from producer.submission import Submission
    from producer.sync import SyncProducer
    from producer.watch import Watch
    from shared.job import Attempt, Candidate, Job, JobError, JobState, Lane, WaitReason

_HOMES = {
    "Attempt": "shared.job",
    "Candidate": "shared.job",
    "Job": "shared.job",
    "JobError": "shared.job",
    "JobState": "shared.job",
    "Lane": "shared.job",
    "Producer": "producer.client",
    "Submission": "producer.submission",
    "SyncProducer": "producer.sync",
    "WaitReason": "shared.job",
    "Watch": "producer.watch",
}

__all__ = [
    "Attempt",
    "Candidate",
    "Job",
    "JobError",
    "JobState",
    "Lane",
    "Producer",
    "Submission",
    "SyncProducer",
    "WaitReason",
    "Watch",
]


def __getattr__(name: str) -> Any:
    # On first use (PEP 562): the command line lives in this package, and most of its commands need no Redis
    # client, whose import takes longer than they do.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
