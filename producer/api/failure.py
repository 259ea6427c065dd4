"""A job that ended without an answer, as an HTTP error.

chatq has retried and failed over by then, so every such answer is final: an SDK that asked again would only pay
for the same once more. A provider's refusal of a key is not the caller's affair, and no 401 for that one.
"""

from __future__ import annotations

from producer.api.errors import FINAL, ApiError
from shared.job import Job, JobError, JobState

_BY_CODE: dict[str, tuple[int, str, str | None]] = {
    "context_too_long": (400, "invalid_request_error", "context_length_exceeded"),
    "content_refused": (400, "invalid_request_error", "content_filter"),
    "model_not_found": (404, "invalid_request_error", "model_not_found"),
    "quota_exhausted": (429, "insufficient_quota", "insufficient_quota"),
    "total_timeout": (504, "timeout", None),
    "read_timeout": (504, "timeout", None),
    "connect_timeout": (504, "timeout", None),
    "stalled": (504, "timeout", None),
    "internal_error": (500, "server_error", None),
    "corrupt_job": (500, "server_error", None),
}
"""Status, type and OpenAI's code, where it is not the rule below."""

_REFUSED = frozenset({"request_refused", "unsupported_content", "unsupported_feature", "empty_prompt"})

NO_ERROR = JobError("no_answer", "the job ended without an answer")


def failure(job: Job) -> ApiError:
    """The error of a job that ended without an answer."""
    error = job.error or NO_ERROR
    where = f" (at {error.provider})" if error.provider else ""
    text = f"{error.message}{where}"
    if job.state is JobState.EXPIRED:
        return ApiError(504, text, kind="timeout", code="expired", headers=FINAL)
    if job.state is JobState.CANCELLED:
        return ApiError(409, "the job was cancelled", kind="conflict", code="cancelled", headers=FINAL)
    status, kind, code = _meaning(error)
    return ApiError(status, text, kind=kind, code=code or error.code, headers=FINAL)


def _meaning(error: JobError) -> tuple[int, str, str | None]:
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if error.code in _REFUSED and error.status in (400, 413, 415, 422):
        return error.status, "invalid_request_error", None
    return 502, "server_error", None
