"""What webhooks tell of jobs, and of the responses that some of them make.

`job.completed`, `job.failed`, `job.cancelled`, `job.expired`; `response.completed`, `response.failed`,
`response.incomplete`, `response.cancelled`.
"""

from __future__ import annotations

from producer.responses.book import as_object
from producer.responses.ids import response_id
from producer.webhooks.event import Describe, Notice
from shared.store.responses import ResponseStore, StoredResponse, Taken
from shared.store.webhooks import WebhookOutbox


def job_describer(outbox: WebhookOutbox, responses: ResponseStore) -> Describe:
    """Looks up what is to be told of a job; whoever asked for a response hears of that."""

    async def describe(job_id: str) -> Notice | None:
        job = await outbox.read_job(job_id)
        if job is None:
            return None
        object_id, event_type = job_id, f"job.{job.state.value}"
        taken = await responses.known(response_id(job_id), "")
        if taken is not None:
            object_id = response_id(job_id)
            response = None if taken is Taken.DELETED else await responses.read(object_id)
            status = None if response is None else await status_of(response, job_id)
            if status is None:
                return None
            event_type = f"response.{status}"
        return Notice(job.url, event_type, job.ended_at, {"id": object_id}, job.client)

    async def status_of(response: StoredResponse, job_id: str) -> str | None:
        """What it ended as: whether an answer is incomplete stands in the answer."""
        outcome = response.outcome
        if outcome is None:
            job = await outbox.read_whole_job(job_id)
            outcome = None if job is None else as_object(response, job)
        return None if outcome is None else str(outcome.get("status"))

    return describe
