"""Jobs, chatq's own resource: submit, look, wait, cancel."""

from __future__ import annotations

from starlette.responses import Response

from producer.api.call import Call, json_answer
from producer.api.errors import not_found
from producer.api.operation import Operation, Param, Reply
from producer.api.principal import Role
from producer.job_view import job_view
from shared.errors import JobNotFound
from shared.job import Job

MAX_WAIT_S = 300.0
"""Longest long poll: proxies in between often end a silent connection after as much."""


async def get_job(call: Call) -> Response:
    """One job, at once or when it has ended."""
    job = await owned_job(call, call.path("id"))
    return json_answer(job_view(job))


async def owned_job(call: Call, job_id: str) -> Job:
    """A job of the caller's.

    Raises:
        ApiError: 404; there is none, or it is somebody else's.
    """
    try:
        job = await call.services.producer.get(job_id)
    except JobNotFound:
        raise not_found("job", job_id) from None
    if not call.principal.owns(job.client):
        raise not_found("job", job_id)
    return job


OPERATIONS = (
    Operation(
        "GET",
        "/jobs/{id}",
        get_job,
        "A job: its state, why it waits, its answer",
        Role.READ,
        "jobs",
        params=(Param("id", "path", {"type": "string"}, "Id of the job"),),
        replies={200: Reply("The job", {"$ref": "#/components/schemas/Job"})},
    ),
)
