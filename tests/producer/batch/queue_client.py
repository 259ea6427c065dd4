"""A producer in memory whose jobs wait, run and end step by step, as on a queue with few workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Any

from producer.batch.estimate import Call, Estimate
from producer.submission import Submission
from shared.errors import InvalidRequest, JobRejected
from shared.job import Candidate, Job, JobState
from shared.store.jobs import id_from_key

from .memory_client import answer, job


def priced(usd: float | None) -> Any:
    """Answers that cost so much; None = nobody knows."""

    def outcome(submission: Submission, job_id: str) -> Job:
        done = answer(submission, job_id)
        assert done.response is not None
        done.response["chatq"]["cost_usd"] = usd
        return done

    return outcome


class QueueClient:
    """Follows `BatchClient`. So many jobs run at a time; each look of the watch ends those and starts the next."""

    def __init__(self, *, concurrency: int = 4, outcome: Any = answer) -> None:
        self.concurrency = concurrency
        self.outcome = outcome
        self.asked: dict[str, int] = {}
        """Calls, by idempotency key."""
        self.jobs: dict[str, Job] = {}
        self.is_stalled = False
        """Whether running calls do not end just now."""
        self.submitted: dict[str, Submission] = {}

    def watch(self) -> QueueWatch:
        return QueueWatch(self)

    async def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        return [self.jobs.get(job_id) for job_id in job_ids]

    async def forget(self, job_ids: Sequence[str]) -> int:
        ended = [job_id for job_id in job_ids if job_id in self.jobs and self.jobs[job_id].state.is_terminal]
        for job_id in ended:
            del self.jobs[job_id]
        return len(ended)

    async def cancel_many(self, job_ids: Sequence[str], *, spares_running: bool = False) -> int:
        for job_id in job_ids:
            state = self.jobs[job_id].state
            if not state.is_terminal and not (spares_running and state is JobState.IN_PROGRESS):
                self.jobs[job_id] = replace(self.jobs[job_id], state=JobState.CANCELLED)
        return len(job_ids)

    def in_state(self, state: JobState) -> list[str]:
        """Ids, in the order they were submitted."""
        return [job_id for job_id, one in self.jobs.items() if one.state is state]

    def submit(self, submission: Submission) -> str:
        """Queue a job unless there is one."""
        assert submission.idempotency_key is not None
        job_id = id_from_key(submission.client, submission.idempotency_key)
        self.submitted[job_id] = submission
        self.jobs.setdefault(job_id, job(job_id, JobState.QUEUED))
        return job_id

    def work(self) -> None:
        """End what runs, start what waits."""
        if self.is_stalled:
            return
        for job_id in self.in_state(JobState.IN_PROGRESS):
            self.jobs[job_id] = self.outcome(self.submitted[job_id], job_id)
        self.start()

    def start(self) -> None:
        """Call the provider for those in front."""
        room = self.concurrency - len(self.in_state(JobState.IN_PROGRESS))
        for job_id in self.in_state(JobState.QUEUED)[: max(0, room)]:
            key = self.submitted[job_id].idempotency_key or ""
            self.asked[key] = self.asked.get(key, 0) + 1
            self.jobs[job_id] = replace(self.jobs[job_id], state=JobState.IN_PROGRESS)


class QueueWatch:
    """Delivers each ended job once."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client
        self._watched: dict[str, None] = {}

    async def __aenter__(self) -> QueueWatch:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._watched.clear()

    @property
    def pending(self) -> int:
        return len(self._watched)

    async def submit_many(self, submissions: Any) -> list[str | JobRejected]:
        await asyncio.sleep(0)
        results: list[str | JobRejected] = []
        for submission in submissions:
            if submission.request.get("stream"):
                results.append(InvalidRequest("stream: no"))
                continue
            results.append(self._client.submit(submission))
            self._watched[str(results[-1])] = None
        return results

    async def next_batch(self, *, timeout_s: float) -> list[Job]:
        await asyncio.sleep(0)
        self._client.work()
        ended = [i for i in self._watched if self._client.jobs[i].state.is_terminal]
        for job_id in ended:
            del self._watched[job_id]
        if not ended:
            await asyncio.sleep(min(timeout_s, 0.002))
        return [self._client.jobs[job_id] for job_id in ended]


class FlatEstimator:
    """Each line is expected to cost the same, unless it states a `price` of its own (None = unknown)."""

    def __init__(self, usd: str = "1") -> None:
        self.usd = Decimal(usd)

    async def estimate(self, submission: Submission) -> Estimate | JobRejected:
        request = submission.request
        assert isinstance(request, dict)
        if request.get("stream"):
            return InvalidRequest("stream: no")
        price = request.get("price", self.usd)
        cost = None if price is None else (Decimal(price), Decimal(price))
        return Estimate((Call(Candidate("p", "m"), 1, (1, 1), cost, None),), cost)
