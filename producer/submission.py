"""A submission: one chat request on its way in, and what becomes of it before Redis sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shared.chat import ChatRequest, encode_request, parse_request
from shared.errors import InvalidRequest, JobRejected, RequestTooLarge
from shared.job import Lane
from shared.labels import check_label
from shared.routing import Router
from shared.settings import JobSettings
from shared.store.jobs import NewJob, id_from_key, new_id

MAX_METADATA_BYTES = 16 * 1024
"""Metadata is for labels; what is larger belongs elsewhere."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A chat request with how it is to be run.

    Attributes:
        request: Validated, or a mapping in OpenAI's shape.
        lane: Which of the provider's lanes.
        idempotency_key: Same key and same body = the same job, however often it is submitted.
        client: Who submits; keys are per client.
        metadata: Labels of the caller's, kept with the job and given back.
        source: Label sent to the upstream as `X-Source` and into telemetry.
        expires_in_s: No call starts later than this after the submit; None = the setting.
        max_attempts: Upstream calls at most; None = the setting.
    """

    request: ChatRequest | Mapping[str, Any]
    lane: Lane = Lane.DEFAULT
    idempotency_key: str | None = None
    client: str = "default"
    metadata: Mapping[str, Any] | None = None
    source: str | None = None
    expires_in_s: float | None = None
    max_attempts: int | None = None


def prepare(submission: Submission, router: Router, settings: JobSettings) -> NewJob | JobRejected:
    """Validate, route and encode; a rejection is returned, so that good neighbours go on."""
    try:
        return _prepare(submission, router, settings)
    except JobRejected as exc:
        return exc


def _prepare(submission: Submission, router: Router, settings: JobSettings) -> NewJob:
    request = submission.request
    if not isinstance(request, ChatRequest):
        request = parse_request(dict(request) if isinstance(request, Mapping) else request)
    route = router.resolve(request.model)
    info: dict[str, Any] = {
        "model": request.model,
        "candidates": [[c.provider, c.model] for c in route.candidates],
        "client": check_label(submission.client, field="client"),
    }
    if submission.source is not None:
        info["source"] = check_label(submission.source, field="source")
    if submission.metadata:
        info["metadata"] = _metadata(submission.metadata)
    key = submission.idempotency_key
    if key is not None and not 0 < len(key) <= 512:
        raise InvalidRequest("idempotency_key: must be 1 to 512 characters", field="idempotency_key")
    return NewJob(
        id=new_id() if key is None else id_from_key(submission.client, key),
        queue=route.queue(submission.lane),
        request_json=encode_request(request, max_bytes=settings.max_body_bytes),
        info_json=orjson.dumps(info),
        max_attempts=_max_attempts(submission.max_attempts, settings),
        expires_in_ms=_expires_in_ms(submission.expires_in_s, settings),
    )


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    try:
        size = len(orjson.dumps(dict(metadata)))
    except TypeError as exc:
        raise InvalidRequest(f"metadata: cannot be written as JSON: {exc}", field="metadata") from None
    if size > MAX_METADATA_BYTES:
        raise RequestTooLarge(
            f"metadata: is {size:,} bytes; the limit is {MAX_METADATA_BYTES:,}", field="metadata"
        )
    return dict(metadata)


def _max_attempts(value: int | None, settings: JobSettings) -> int:
    if value is None:
        return settings.max_attempts
    if not 1 <= value <= 20:
        raise InvalidRequest("max_attempts: must be from 1 to 20", field="max_attempts")
    return value


def _expires_in_ms(value: float | None, settings: JobSettings) -> int:
    expires_in_s = settings.expires_in_s if value is None else value
    if value is not None and value <= 0:
        raise InvalidRequest("expires_in_s: must be greater than 0 seconds", field="expires_in_s")
    return max(1, round(expires_in_s * 1000)) if expires_in_s else 0
