"""The book of responses: what has become of each, by what was kept of it or by the job behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from producer.client import Producer
from producer.responses.answer import lost, response_object
from producer.responses.ids import job_id_of
from shared.errors import JobNotFound
from shared.job import Job
from shared.store.responses import ResponseStore, StoredResponse

Keep = Callable[[StoredResponse, dict[str, Any]], None]
"""Has the outcome of a response written down (`ResponseKeeper.keep`)."""


class ResponseBook:
    """Tells what has become of responses.

    Attributes:
        store: Where they are taken down.
    """

    def __init__(self, store: ResponseStore, producer: Producer, *, keep: Keep) -> None:
        self.store = store
        self._producer = producer
        self._keep = keep

    async def now(self, response: StoredResponse) -> dict[str, Any]:
        """The Response object as it is now.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        if response.outcome is not None:
            return dict(response.outcome)
        try:
            return self.of_job(response, await self._producer.get(job_id_of(response.id)))
        except JobNotFound:
            latest = await self.store.read(response.id)
            if latest is not None and latest.outcome is not None:
                return dict(latest.outcome)
            return lost(response.asked, response.id, created_at=response.created_at)

    def of_job(self, response: StoredResponse, job: Job) -> dict[str, Any]:
        """The Response object that this state of its job makes; an outcome is kept."""
        found = as_object(response, job)
        if job.state.is_terminal and response.outcome is None:
            self._keep(response, found)
        return found

    async def conversation(self, response: StoredResponse) -> list[dict[str, Any]] | None:
        """All that was said up to the end of a response, as items; None if it has not been answered.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        found = await self.now(response)
        if found["status"] not in ("completed", "incomplete"):
            return None
        return [*await self.store.read_items(response.id), *found["output"]]


def as_object(response: StoredResponse, job: Job) -> dict[str, Any]:
    """The Response object that this state of its job makes."""
    return response_object(response.asked, job, created_at=response.created_at)
