"""Batches without an API in front and without workers behind: made, run in the test's own loop, read."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from producer.batcher.batcher import Batcher
from producer.batcher.purse import Purse
from producer.batcher.session import BatcherClient, Tools
from producer.files.blobs import Blobs
from producer.files.content import find_content
from producer.submission import Submission, prepare
from shared.errors import IdempotencyConflict, JobRejected
from shared.job import Job
from shared.routing import Router
from shared.settings import Settings
from shared.store.batch_record import Batch, Spec
from shared.store.batches import BatchStore
from shared.store.connect import Store
from shared.store.files import FileRecord, FileStore
from shared.store.jobs import new_id
from tests.producer.batch.memory_client import answer
from tests.producer.batch.queue_client import FlatEstimator, QueueClient, QueueWatch

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


def line(number: int, *, url: str = CHAT, **body: Any) -> bytes:
    """One good line of an input, for a model that the simulator answers as."""
    asked: dict[str, Any] = {"model": "ollama/m"}
    if url == CHAT:
        asked["messages"] = [{"role": "user", "content": f"say {number}"}]
    else:
        asked["input"] = f"say {number}"
    return (
        orjson.dumps({"custom_id": f"id-{number}", "method": "POST", "url": url, "body": {**asked, **body}})
        + b"\n"
    )


class Desk:
    """Makes files and batches as the API does, and reads what became of them."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self.store = store
        self.blobs = blobs
        self.files = FileStore(store)
        self.batches = BatchStore(store)

    async def upload(self, *lines: bytes) -> FileRecord:
        file_id = f"file-{new_id()}"
        record = FileRecord(
            file_id, "default", sum(map(len, lines)), "in.jsonl", "batch", 1, 4_000_000_000, f"files/{file_id}.x",
        )  # fmt: skip
        await self.blobs.put(record.blob, b"".join(lines))
        return await self.files.create(record)

    async def submit(self, *lines: bytes, window_s: int = 3600, endpoint: str = CHAT, **spec: Any) -> str:
        """Make a batch; returns its id."""
        record = await self.upload(*lines)
        return await self.submit_file(record, window_s=window_s, endpoint=endpoint, **spec)

    async def submit_file(
        self, record: FileRecord, *, window_s: int = 3600, endpoint: str = CHAT, **spec: Any
    ) -> str:
        """Make a batch of a file that is there."""
        return await self.create(Spec(endpoint, record.id, record.blob, "1h", window_s, 3600, **spec))

    async def create(self, spec: Spec) -> str:
        batch_id = f"batch_{new_id()}"
        assert await self.batches.create(batch_id, "default", spec, ttl_s=3600)
        return batch_id

    async def get(self, batch_id: str) -> Batch:
        batch = await self.batches.get(batch_id)
        assert batch is not None
        return batch

    async def ended(self, batch_id: str, *, timeout_s: float = 20.0) -> Batch:
        """Wait for its end."""
        return await self.when(batch_id, lambda batch: batch.is_ended, timeout_s=timeout_s)

    async def when(self, batch_id: str, is_so: Callable[[Batch], bool], *, timeout_s: float = 20.0) -> Batch:
        async with asyncio.timeout(timeout_s):
            while not is_so(batch := await self.get(batch_id)):
                await asyncio.sleep(0.01)
        return batch

    async def read(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a result file; of none, none."""
        record = await self.files.get(file_id or "")
        if record is None:
            return []
        content = await find_content(record, self.files, self.batches)
        assert content is not None
        data = b"".join([piece async for piece in content.read(self.blobs, 0, content.size)])
        assert data.isascii()
        return [orjson.loads(text) for text in data.splitlines()]

    async def outcomes(self, batch: Batch) -> list[str]:
        """Custom ids over both files, sorted."""
        lines = await self.read(batch.output_file_id) + await self.read(batch.error_file_id)
        return sorted(one["custom_id"] for one in lines)


class QuickClient(QueueClient):
    """A producer in memory, with the real validation in front; `is_stalled` stands for a fleet without workers."""

    def __init__(self, settings: Settings, router: Router) -> None:
        super().__init__(concurrency=500)
        self.router = router
        self.settings = settings
        self.conflicts: set[str] = set()
        """Idempotency keys that another body has."""

    def stall_after(self, answers: int) -> None:
        """Let the workers go away once so many calls are answered."""
        self.concurrency = 10
        counted = itertools.count(1)

        def outcome(submission: Submission, job_id: str) -> Job:
            self.is_stalled |= next(counted) == answers
            return answer(submission, job_id)

        self.outcome = outcome

    def watch(self) -> QuickWatch:
        return QuickWatch(self)


class QuickWatch(QueueWatch):
    def __init__(self, client: QuickClient) -> None:
        super().__init__(client)
        self._quick = client

    async def submit_many(self, submissions: Any) -> list[str | JobRejected]:
        results: list[str | JobRejected] = []
        for one in submissions:
            job = prepare(one, self._quick.router, self._quick.settings.jobs)
            if one.idempotency_key in self._quick.conflicts:
                results.append(IdempotencyConflict("it has another body", job_id="x"))
                continue
            results += [job] if isinstance(job, JobRejected) else await super().submit_many([one])
        return results


@asynccontextmanager
async def running_batcher(
    desk: Desk, settings: Settings, client: BatcherClient, *, estimator: FlatEstimator | None = None
) -> AsyncIterator[None]:
    """A batcher as long as a block lasts; it ends as at SIGTERM."""
    purse = Purse(desk.store, settings, estimator or FlatEstimator())  # type: ignore[arg-type]
    tools = Tools(client, settings, desk.blobs, desk.files, desk.batches, purse)
    batcher = Batcher(tools, desk.store)
    running = asyncio.create_task(batcher.run())
    try:
        yield
    finally:
        batcher.stop()
        await running
