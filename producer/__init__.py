"""The producer: accepts chat requests, routes them, enqueues them, and waits for their outcomes."""

from producer.client import Producer
from producer.submission import Submission
from producer.sync import SyncProducer
from producer.watch import Watch
from shared.job import Candidate, Job, JobError, JobState, Lane

__all__ = [
    "Candidate",
    "Job",
    "JobError",
    "JobState",
    "Lane",
    "Producer",
    "Submission",
    "SyncProducer",
    "Watch",
]
