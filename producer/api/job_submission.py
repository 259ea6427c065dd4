"""A job as its caller writes it: the chat request under `request`, and beside it how it is to be run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from producer.api.call import Call
from producer.api.errors import ApiError
from producer.submission import MAX_TAGS, MAX_WEBHOOK_URL, Submission
from producer.webhooks.target import check_webhook_url
from shared.chat import ChatRequest, parse_request
from shared.errors import InvalidRequest
from shared.job import Lane

FIELDS = frozenset(
    ("request", "lane", "expires_in_s", "metadata", "source", "max_attempts", "tags", "webhook_url", "stream",
     "idempotency_key")
)  # fmt: skip

ENVELOPE_BYTES = 64 * 1024
"""What may stand around a request of the largest size: metadata, tags, an address, and blanks."""


def max_job_bytes(call: Call) -> int:
    """Largest job that is read, in bytes of JSON."""
    return call.services.settings.jobs.max_body_bytes + ENVELOPE_BYTES


def read_submission(call: Call, job: Mapping[str, Any], *, key: str | None) -> Submission:
    """The submission that a caller has written; labels and numbers are checked when it is handed in.

    Args:
        key: Idempotency key of the call, for a job that states none.

    Raises:
        ApiError, InvalidRequest: A field is unknown, missing or wrong.
    """
    for name in job:
        if name not in FIELDS:
            text = f"{name}: no such field; a job has {', '.join(sorted(FIELDS))}"
            raise ApiError(400, text, code="unknown_parameter", param=name)
    headers, given = call.headers, {k: v for k, v in job.items() if v is not None}
    return Submission(
        _request(given.get("request")),
        given.get("lane", Lane.DEFAULT),
        given.get("idempotency_key", key),
        call.principal.client,
        given.get("metadata"),
        given.get("source", headers.get("x-source", headers.get("x-boo-source"))),
        given.get("expires_in_s"),
        given.get("max_attempts"),
        given.get("tags", ()),
        stream=given.get("stream", False),
        webhook_url=_webhook_url(call, given.get("webhook_url")),
        is_listed=True,
    )


def _webhook_url(call: Call, value: Any) -> str | None:
    return None if value is None else check_webhook_url(value, call.services.settings.webhooks)


def _request(value: Any) -> ChatRequest:
    if value is None:
        raise InvalidRequest(
            "request: this field is required; the chat request goes into it", field="request"
        )
    try:
        return parse_request(value)
    except InvalidRequest as exc:
        where = "request" if exc.field is None else f"request.{exc.field}"
        raise InvalidRequest(f"request: {exc}", field=where) from None


_NUMBER_OF_SECONDS = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 366 * 86_400}

SCHEMAS = {
    "NewJob": {
        "type": "object",
        "required": ["request"],
        "additionalProperties": False,
        "properties": {
            "request": {"$ref": "#/components/schemas/ChatRequest"},
            "lane": {"enum": [*Lane, None], "description": "Lanes share a provider by weight"},
            "expires_in_s": {**_NUMBER_OF_SECONDS, "description": "Not sent later than this"},
            "metadata": {"type": ["object", "null"], "description": "Labels, kept and given back; 16 kB"},
            "source": {
                "type": ["string", "null"], "minLength": 1, "maxLength": 128, "pattern": "^[ -~]+$",
                "description": "Label for the provider's log and for telemetry",
            },
            "max_attempts": {"type": ["integer", "null"], "minimum": 1, "maximum": 20},
            "tags": {
                "type": ["array", "null"], "maxItems": MAX_TAGS,
                "items": {"type": "string", "minLength": 1, "maxLength": 64},
                "description": "For the rules of groups",
            },
            "webhook_url": {
                "type": ["string", "null"], "maxLength": MAX_WEBHOOK_URL, "pattern": "^https?://[!-~]+$",
                "description": "Is told when the job has ended",
            },
            "stream": {"type": ["boolean", "null"], "description": "Have the answer's pieces in its events"},
            "idempotency_key": {
                "type": ["string", "null"], "minLength": 1, "maxLength": 512,
                "description": "Same key and same request: the same job",
            },
        },
    }
}  # fmt: skip
