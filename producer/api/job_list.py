"""Lists of jobs: some by their ids, or the caller's own, by status and metadata, page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from producer.api.call import Call, json_answer
from producer.api.errors import ApiError, not_found
from producer.api.operation import Operation, Param, Reply
from producer.api.principal import Role
from producer.job_view import job_view
from shared.job import Job, JobState
from shared.store.listing import Listed, Listings, Order

MAX_IDS = 100
"""Ids of a call: as many as fit into an address that every proxy takes."""

MAX_LIMIT = 100
DEFAULT_LIMIT = 20

METADATA = "metadata["


async def list_jobs(call: Call) -> Response:
    """Jobs with these ids, or a page of the listing."""
    ids = call.request.query_params.get("ids")
    return await (_some_jobs(call, ids.split(",")) if ids is not None else _page(call))


async def _some_jobs(call: Call, ids: Sequence[str]) -> Response:
    wanted = list(dict.fromkeys(job_id for job_id in map(str.strip, ids) if job_id))
    if not 1 <= len(wanted) <= MAX_IDS:
        raise ApiError(400, f"ids: must be 1 to {MAX_IDS} ids", code="invalid_value", param="ids")
    found = [job for job in await call.services.producer.get_many(wanted) if job is not None]
    jobs = [job for job in found if call.principal.owns(job.client)]
    known = {job.id for job in jobs}
    missing = [job_id for job_id in wanted if job_id not in known]
    return json_answer({**_envelope(jobs, None, has_more=False), "missing": missing})


async def _page(call: Call) -> Response:
    limit = call.number("limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
    after = call.request.query_params.get("after")
    fits = _filter(call)
    client, order = _client(call), _order(call)
    found = await Listings(call.services.store).find(client, fits, after=after, limit=limit, order=order)
    if found is None:
        raise not_found("job", after or "")
    read = await call.services.producer.get_many(found.ids)
    jobs = [job for job in read if job is not None and fits(Listed(job.state, job.metadata))]
    return json_answer(_envelope(jobs, found.last, has_more=found.has_more))


def _envelope(jobs: Sequence[Job], last_id: str | None, *, has_more: bool) -> dict[str, Any]:
    """OpenAI's list; `last_id` is where to go on, which may be a job that was passed over."""
    views = [job_view(job) for job in jobs]
    return {
        "object": "list",
        "data": views,
        "first_id": jobs[0].id if jobs else None,
        "last_id": last_id if last_id is not None else jobs[-1].id if jobs else None,
        "has_more": has_more,
    }


def _client(call: Call) -> str:
    """Whose jobs: the caller's own; an administrator may ask for others'."""
    client = call.request.query_params.get("client", call.principal.client)
    if not call.principal.owns(client):
        text = "client: only an administrator may list the jobs of others"
        raise ApiError(403, text, kind="permission_error", code="client_not_allowed", param="client")
    return client


def _order(call: Call) -> Order:
    match call.request.query_params.get("order", "desc"):
        case "asc":
            return "asc"
        case "desc":
            return "desc"
        case _:
            raise ApiError(400, "order: must be asc or desc", code="invalid_value", param="order")


def _filter(call: Call) -> Callable[[Listed], bool]:
    """What the query asks for: one of some states, and all of some labels."""
    query = call.request.query_params
    states = {_state(word) for words in query.getlist("status") for word in words.split(",")}
    labels = {
        name[len(METADATA) : -1]: value
        for name, value in query.multi_items()
        if name.startswith(METADATA) and name.endswith("]")
    }
    return lambda job: (not states or job.state in states) and _has_labels(job.metadata, labels)


def _state(word: str) -> JobState:
    try:
        return JobState(word.strip())
    except ValueError:
        allowed = ", ".join(JobState)
        raise ApiError(
            400, f"status: must be of {allowed}, with commas between", code="invalid_value", param="status"
        ) from None


def _has_labels(metadata: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(name in metadata and _as_text(metadata[name]) == value for name, value in labels.items())


def _as_text(value: Any) -> str:
    """A label as a query writes it; what is no text, as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


OPERATIONS = (
    Operation(
        "GET",
        "/jobs",
        list_jobs,
        "Jobs by their ids, or the caller's own, newest first",
        Role.READ,
        "jobs",
        params=(
            Param("ids", "query", {"type": "string"}, f"Up to {MAX_IDS}, with commas between; the rest is ignored"),
            Param("status", "query", {"type": "string"}, "One of these, with commas between"),
            Param("metadata[key]", "query", {"type": "string"}, "With this label; as often as needed"),
            Param("after", "query", {"type": "string"}, "Begin behind this job: the `last_id` of the page before"),
            Param("limit", "query", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, "Most jobs (20)"),
            Param("order", "query", {"enum": ["asc", "desc"]}, "By the time of their submit (desc)"),
            Param("client", "query", {"type": "string"}, "Whose, for administrators"),
        ),
        replies={200: Reply("A page", {"$ref": "#/components/schemas/JobList"})},
    ),
)  # fmt: skip
