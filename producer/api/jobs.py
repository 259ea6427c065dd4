"""Jobs, chatq's own resource: submit, look, wait, cancel."""

from __future__ import annotations

from starlette.responses import Response

from producer.api import job_schemas, job_submission
from producer.api.admission import check_submit
from producer.api.call import Call, json_answer
from producer.api.connection import until_left
from producer.api.errors import not_found, retry_after
from producer.api.job_submission import max_job_bytes, read_submission
from producer.api.operation import Body, Operation, Param, Reply
from producer.api.principal import Role
from producer.job_view import job_view
from producer.submission import Submission, asked_models, read_lane
from shared.errors import JobNotFound, WaitTimeout
from shared.job import Job, JobState

MAX_WAIT_S = 300.0
"""Longest long poll: proxies in between often end a silent connection after as much."""


async def create_job(call: Call) -> Response:
    """Accept one job; it is there when the answer is."""
    submission = read_submission(
        call, await call.json(max_bytes=max_job_bytes(call)), key=call.idempotency_key
    )
    await check_submission(call, submission)
    job_id = await call.services.submits.submit(submission)
    status = JobState.QUEUED
    if submission.idempotency_key is not None:  # it may have been there before
        status = (await call.services.producer.look(job_id)).state
    accepted = {"id": job_id, "object": "job", "status": status}
    return json_answer(accepted, 202, {"Location": f"/v1/jobs/{job_id}"})


async def check_submission(call: Call, submission: Submission) -> None:
    """See that the caller may have this job made.

    Raises:
        ApiError, InvalidRequest: It may not, or its lane is none.
    """
    await check_submit(call, lane=read_lane(submission.lane), models=asked_models([submission]))


async def get_job(call: Call) -> Response:
    """One job, at once or when it has ended."""
    wait_s = call.seconds("wait", 0.0, most=MAX_WAIT_S)
    job = await owned_job(call, call.path("id"))
    if not job.state.is_terminal:
        if wait_s:
            later = await until_left(call.request.receive, _when_ended(call, job.id, wait_s))
            if later is None:
                return Response(status_code=204)  # nobody reads it
            job = later
        job = await call.services.producer.explain(job)
    headers = {} if job.state.is_terminal else retry_after(job.eta_s)
    return json_answer(job_view(job), headers=headers)


async def _when_ended(call: Call, job_id: str, wait_s: float) -> Job:
    producer = call.services.producer
    try:
        return await producer.wait(job_id, timeout_s=wait_s)
    except WaitTimeout:
        return await producer.look(job_id)


async def cancel_job(call: Call) -> Response:
    """End a job; one that has ended stays as it is."""
    job = await owned_job(call, call.path("id"))
    if not job.state.is_terminal:
        await call.services.producer.cancel(job.id)
        job = await call.services.producer.look(job.id)
    return json_answer(job_view(job))


async def owned_job(call: Call, job_id: str) -> Job:
    """A job of the caller's, without what explains its waiting (`Producer.explain`).

    Raises:
        ApiError: 404; there is none, or it is somebody else's.
    """
    try:
        job = await call.services.producer.look(job_id)
    except JobNotFound:
        raise not_found("job", job_id) from None
    if not call.principal.owns(job.client):
        raise not_found("job", job_id)
    return job


JOB_ID = Param("id", "path", {"type": "string"}, "Id of the job")
IDEMPOTENCY_KEY = Param(
    "Idempotency-Key", "header", {"type": "string"}, "Same key and same request: the same job"
)
SOURCE = Param(
    "X-Source", "header", {"type": "string"}, "`source` of jobs that state none (also: X-Boo-Source)"
)

_JOB = {"$ref": "#/components/schemas/Job"}

SCHEMAS = job_schemas.SCHEMAS | job_submission.SCHEMAS

OPERATIONS = (
    Operation(
        "POST",
        "/jobs",
        create_job,
        "Submit a job; it is queued when this answers",
        Role.SUBMIT,
        "jobs",
        params=(IDEMPOTENCY_KEY, SOURCE),
        body=Body({"$ref": "#/components/schemas/NewJob"}),
        replies={
            202: Reply("Accepted; `Location` says where it is", {"$ref": "#/components/schemas/AcceptedJob"})
        },
    ),
    Operation(
        "GET",
        "/jobs/{id}",
        get_job,
        "A job: its status, why it waits and for how long, its answer",
        Role.READ,
        "jobs",
        params=(
            JOB_ID,
            Param(
                "wait", "query", {"type": "number", "minimum": 0}, "Seconds to wait for its end, 300 at most"
            ),
        ),
        replies={200: Reply("The job; `Retry-After` while it has not ended", _JOB)},
    ),
    Operation(
        "DELETE",
        "/jobs/{id}",
        cancel_job,
        "Cancel a job; one that has ended stays as it is",
        Role.SUBMIT,
        "jobs",
        params=(JOB_ID,),
        replies={200: Reply("The job as it is now", _JOB)},
    ),
)
