"""A producer in memory: answers at once or when told, so that a test can run any number of lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

from producer.submission import Submission
from shared.errors import JobRejected
from shared.job import Candidate, Job, JobState
from shared.store.jobs import id_from_key
from shared.usage import NO_USAGE

Answer = Callable[[Submission, str], Job]


def answer(submission: Submission, job_id: str) -> Job:
    """A completed job that echoes the last message."""
    request = submission.request
    assert isinstance(request, dict)
    text = request["messages"][-1]["content"]
    usage = {**NO_USAGE, "input_total": 2, "output_total": 3}
    return job(
        job_id,
        JobState.COMPLETED,
        response={
            "id": f"chatcmpl-{job_id}",
            "object": "chat.completion",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            ],
            "chatq": {"provider": "ollama", "upstream_model": "m", "usage": usage},
        },
    )


def job(job_id: str, state: JobState, **fields: object) -> Job:
    """A job as a poller sees it."""
    return Job(
        id=job_id, state=state, lane="batch", queue="ollama.batch", requested_model="m",
        candidate=Candidate("ollama", "m"), attempts=1, created_at=0.0, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


class MemoryClient:
    """Follows `BatchClient`. A job that was forgotten and is submitted again counts as asked twice."""

    def __init__(self, outcome: Answer = answer) -> None:
        self.outcome = outcome
        self.asked: dict[str, int] = {}
        self.jobs: dict[str, Job] = {}
        self.cancelled: list[str] = []
        self.is_holding = False
        self.most_pending = 0

    def watch(self) -> MemoryWatch:
        return MemoryWatch(self)

    async def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        return [self.jobs.get(job_id) for job_id in job_ids]

    async def forget(self, job_ids: Sequence[str]) -> int:
        return sum(self.jobs.pop(job_id, None) is not None for job_id in job_ids)

    async def cancel_many(self, job_ids: Sequence[str], *, spares_running: bool = False) -> int:
        known = [job_id for job_id in job_ids if job_id in self.jobs]
        self.cancelled += known
        return len(known)


class MemoryWatch:
    def __init__(self, client: MemoryClient) -> None:
        self._client = client
        self._ended: list[str] = []

    async def __aenter__(self) -> MemoryWatch:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._ended.clear()

    @property
    def pending(self) -> int:
        return len(self._ended)

    async def submit_many(self, submissions: Iterable[Submission]) -> list[str | JobRejected]:
        await asyncio.sleep(0)
        ids: list[str | JobRejected] = []
        for submission in submissions:
            assert submission.idempotency_key is not None
            job_id = id_from_key(submission.client, submission.idempotency_key)
            if job_id not in self._client.jobs:
                self._client.asked[submission.idempotency_key] = (
                    self._client.asked.get(submission.idempotency_key, 0) + 1
                )
                self._client.jobs[job_id] = self._client.outcome(submission, job_id)
            self._ended.append(job_id)
            ids.append(job_id)
        self._client.most_pending = max(self._client.most_pending, len(self._ended))
        return ids

    async def next_batch(self, *, timeout_s: float) -> list[Job]:
        if self._client.is_holding or not self._ended:
            await asyncio.sleep(min(timeout_s, 0.01))
            return []
        batch, self._ended = self._ended[:100], self._ended[100:]
        return [self._client.jobs[job_id] for job_id in batch]
