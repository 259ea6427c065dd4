"""A job as the Response object that its caller asked for (docs/openai-wire.md §8.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from producer.responses.ids import response_id
from producer.responses.items import shown_items
from producer.responses.output import STOPPED_SHORT, first_choice, output_items
from shared.job import Job, JobError, JobState

_STATUS = {
    JobState.QUEUED: "queued",
    JobState.IN_PROGRESS: "in_progress",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",  # there is no other word for it
}

LOST = JobError("result_lost", "the job of this response is gone, and nobody read its answer in time")
"""Of a response whose job has left the store without its outcome having been kept."""

_NO_ANSWER = JobError("no_answer", "the job ended without an answer")

_RATE = frozenset({"rate_limited", "quota_exhausted", "lane_full"})
_PROMPT = frozenset(
    {
        "answer_too_large",
        "content_refused",
        "context_too_long",
        "empty_prompt",
        "history_refused",
        "invalid_request",
        "request_refused",
        "unsupported",
        "unsupported_content",
        "unsupported_feature",
    }
)
"""Errors of jobs in the few words that strict clients accept (§8.2); all others are the server's. Clients take
`server_error` and `rate_limit_exceeded` for a reason to ask again."""


def response_object(asked: Mapping[str, Any], job: Job, *, created_at: float) -> dict[str, Any]:
    """The Response as the job is now.

    The same arguments give the same object, ids of items included.

    Args:
        asked: What the object repeats of the request (`request.echo`).
        job: Its id makes the response's.
        created_at: When the response was accepted, Unix seconds.
    """
    status, found = _STATUS[job.state], unfinished(asked, response_id(job.id), created_at=created_at)
    found["chatq"] = _about(job)
    if job.state in (JobState.FAILED, JobState.EXPIRED):
        found["error"] = _error(job.error or _NO_ANSWER)
    elif job.state is JobState.COMPLETED:
        completion = job.response or {}
        choice = first_choice(completion)
        reason = STOPPED_SHORT.get(str(choice.get("finish_reason")))
        if reason is not None:
            status, found["incomplete_details"] = "incomplete", {"reason": reason}
        else:
            found["completed_at"] = job.ended_at
        native = _object(_object(completion.get("chatq")).get("response"))
        if native:
            found["output"] = shown_items(_items(native.get("output")), found["id"])
        else:
            found["output"] = output_items(choice, found["id"])
        found["usage"] = usage(completion)
    return {**found, "status": status}


def unfinished(asked: Mapping[str, Any], response_id: str, *, created_at: float) -> dict[str, Any]:
    """The Response of which nothing is known yet but the request."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(created_at),
        "status": "queued",
        **asked,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }


def lost(asked: Mapping[str, Any], response_id: str, *, created_at: float) -> dict[str, Any]:
    """The Response whose job is gone."""
    found = unfinished(asked, response_id, created_at=created_at)
    return {**found, "status": "failed", "error": _error(LOST)}


def usage(completion: Mapping[str, Any]) -> dict[str, Any]:
    """What the answer took; each number is there, because strict clients refuse an object that leaves one out."""
    counted = _object(completion.get("usage"))
    record = _object(_object(completion.get("chatq")).get("usage"))
    read = _object(counted.get("prompt_tokens_details"))
    written = _object(counted.get("completion_tokens_details"))
    prompt = _count(record.get("input_total"), counted.get("prompt_tokens"))
    output = _count(record.get("output_total"), counted.get("completion_tokens"))
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": _count(record.get("input_cached"), read.get("cached_tokens")),
            "cache_write_tokens": _count(record.get("input_cache_write"), read.get("cache_write_tokens")),
        },
        "output_tokens": output,
        "output_tokens_details": {
            "reasoning_tokens": _count(record.get("reasoning"), written.get("reasoning_tokens"))
        },
        "total_tokens": prompt + output,
    }


def _error(error: JobError) -> dict[str, Any]:
    code = "server_error"
    if error.code in _RATE or error.status == 429:
        code = "rate_limit_exceeded"
    elif error.code in _PROMPT:
        code = "invalid_prompt"
    return {"code": code, "message": error.message}


def _about(job: Job) -> dict[str, Any]:
    """The job behind it, and its error in chatq's words: what stands under the key `chatq`."""
    record = _object(job.response).get("chatq")
    about: dict[str, Any] = {"job_id": job.id, "attempts": job.attempts, **_object(record)}
    about.pop("response", None)  # it is what the whole object is made of
    if job.error is not None and job.state.is_terminal:
        about["error"] = {"code": job.error.code, "status": job.error.status, "provider": job.error.provider}
    return about


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(*candidates: Any) -> int:
    """The first that is a count; 0 where nobody counted."""
    for value in candidates:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return 0
