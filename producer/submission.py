"""A submission: one chat request on its way in, and what becomes of it before Redis sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import orjson

from producer.candidates import find_candidates
from shared.chat import ChatRequest, encode_request, parse_request
from shared.errors import InvalidRequest, JobRejected, RequestTooLarge
from shared.job import Lane
from shared.job_record import job_record
from shared.labels import check_label
from shared.native_responses import FIELD, native_request
from shared.routing import NO_FACTS, Facts, Router, features_of
from shared.settings import JobSettings
from shared.store.jobs import Cost, NewJob, id_from_key, new_id
from shared.tokens import estimate_prompt_tokens
from shared.way import Entry, find_way, way_entries, way_fields

MAX_METADATA_BYTES = 16 * 1024
"""Metadata is for labels; what is larger belongs elsewhere."""

MAX_TAGS = 20
"""Tags of a submission; rules name a few dozen in all."""

MAX_WEBHOOK_URL = 2048
"""Longest address of a webhook, in characters: what every server and proxy takes."""

_WEB_ADDRESS = re.compile(r"https?://[!-~]+", re.IGNORECASE)

MAX_EXPIRES_IN_S = 366 * 86_400
"""As in the settings: what is to run later than that is not a job."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A chat request with how it is to be run.

    Attributes:
        request: Validated, or a mapping in OpenAI's shape.
        lane: Which of the provider's lanes; its value does too.
        idempotency_key: Same key and same body = the same job, however often it is submitted.
        client: Who submits; keys are per client.
        metadata: Labels of the caller's, kept with the job and given back.
        source: Label sent to the upstream as `X-Source` and into telemetry.
        expires_in_s: No call starts later than this after the submit, 366 days at most; None = the setting.
        max_attempts: Upstream calls at most, 1 to 20; None = the setting.
        batch: Name of the run it belongs to, for telemetry and costs.
        tags: What the rules of groups may ask for, beside what they find in the request; 20 at most.
        stream: Have the answer's pieces written down as they come (`shared/store/deltas.py`).
        webhook_url: Told when the job has ended.
        is_listed: Whether the job is found in the list of its client's jobs.
        is_native: The request may hold one in a provider's own words (`shared/native_responses.py`). A caller must
            not write that itself: nothing is checked in there.
    """

    request: ChatRequest | Mapping[str, Any]
    lane: Lane | str = Lane.DEFAULT
    idempotency_key: str | None = None
    client: str = "default"
    metadata: Mapping[str, Any] | None = None
    source: str | None = None
    expires_in_s: float | None = None
    max_attempts: int | None = None
    tags: Sequence[str] = ()
    batch: str | None = None
    stream: bool = False
    webhook_url: str | None = None
    is_listed: bool = False
    is_native: bool = False


class _Labels(NamedTuple):
    """What stands in a job's record as the caller said it (arguments of `job_record`)."""

    client: str
    source: str | None
    batch: str | None
    stream: bool
    webhook_url: str | None


def prepare(
    submission: Submission, router: Router, settings: JobSettings, facts: Facts = NO_FACTS
) -> NewJob | JobRejected:
    """Validate, route and encode; a rejection is returned, so that good neighbours go on.

    Args:
        facts: What groups go by.
    """
    try:
        return _prepare(submission, router, settings, facts)
    except JobRejected as exc:
        return exc


def asked_models(submissions: Iterable[Submission]) -> set[str]:
    """The models that submissions ask for; whatever else stands in their place is left out.

    `models` are OpenRouter's fallbacks, which it goes to by itself.
    """
    names: set[Any] = set()
    for submission in submissions:
        request = submission.request
        if isinstance(request, ChatRequest):
            names.add(request.model)
            names.update(request.fallbacks or ())
            names.update(_texts((request.model_extra or {}).get("models")))
        elif isinstance(request, Mapping):
            asked = (request.get("model"), *_texts(request.get("fallbacks")), *_texts(request.get("models")))
            names.update(name for name in asked if isinstance(name, str))
    return names


def _texts(names: Any) -> list[str]:
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _prepare(submission: Submission, router: Router, settings: JobSettings, facts: Facts) -> NewJob:
    request = submission.request
    if not isinstance(request, ChatRequest):
        request = parse_request(dict(request) if isinstance(request, Mapping) else request)
    if not submission.is_native and native_request(request) is not None:
        raise InvalidRequest(f"{FIELD}: is a field of chatq's own; use /v1/responses", field=FIELD)
    labels = _labels(submission)
    request_json = encode_request(request, max_bytes=settings.max_body_bytes)
    tokens = estimate_prompt_tokens(request, request_json), request.output_limit_tokens or 0
    entries: Sequence[Entry]
    tags = check_tags(submission.tags) if submission.tags else ()
    if _asks_groups(request, router):
        features = cache(lambda: features_of(request, request_json, tags))
        way = find_way(request, features, router, facts)
        info_json = orjson.dumps(
            job_record(request.model, (), **labels._asdict()) | way_fields(way, tags=tags)
        )
        entries, tokens = way_entries(way, features, *tokens)
    else:
        found = find_candidates(request.model, request.fallbacks or (), router)
        entries = candidates = tuple([(candidate.provider, candidate.model) for candidate in found])
        info_json = _record(request.model, candidates, labels)
    if submission.metadata is not None:
        info_json = orjson.dumps({**orjson.loads(info_json), "metadata": _metadata(submission.metadata)})
    key = submission.idempotency_key
    return NewJob(  # both by place: with names they take twice as long
        new_id() if key is None else id_from_key(submission.client, _key(key)),
        f"{entries[0][0]}.{read_lane(submission.lane)}",
        request_json,
        info_json,
        Cost(*tokens, len(request_json), labels.client, entries[0][1]),
        entries,
        _max_attempts(submission.max_attempts, settings),
        _expires_in_ms(submission.expires_in_s, settings),
        key is not None,
        submission.is_listed,
        submission.webhook_url is not None,
    )


def _asks_groups(request: ChatRequest, router: Router) -> bool:
    if router.group_of(request.model) is not None:
        return True
    return any(router.group_of(name) is not None for name in request.fallbacks or ())


@lru_cache(maxsize=1024)
def _record(model: str, candidates: tuple[tuple[str, str], ...], labels: _Labels) -> bytes:
    """What goes beside the request (`NewJob.info_json`), from memory for jobs of a kind."""
    return orjson.dumps(job_record(model, candidates, **labels._asdict()))


# Callers are other people's programs, and not all of them are typed: each check takes any value.


def _labels(submission: Submission) -> _Labels:
    url = submission.webhook_url
    return _Labels(
        check_label(submission.client, field="client"),
        _label(submission.source, "source"),
        _label(submission.batch, "batch"),
        _is_streamed(submission.stream),
        None if url is None else check_webhook_url(url),
    )


def _label(value: Any, field: str) -> str | None:
    return None if value is None else check_label(value, field=field)


def _is_streamed(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidRequest("stream: must be true or false", field="stream")


def check_webhook_url(value: Any) -> str:
    """Where a webhook may be sent (`Submission.webhook_url`).

    Raises:
        InvalidRequest: It is something else.
    """
    if isinstance(value, str) and len(value) <= MAX_WEBHOOK_URL and _WEB_ADDRESS.fullmatch(value):
        return value
    text = f"webhook_url: must be an http(s) URL of at most {MAX_WEBHOOK_URL:,} characters"
    raise InvalidRequest(text, field="webhook_url")


def read_lane(value: Any) -> Lane:
    """A lane of a caller's (`Submission.lane`).

    Raises:
        InvalidRequest: It is none.
    """
    try:
        return Lane(value)
    except ValueError:
        allowed = ", ".join(Lane)
        raise InvalidRequest(f"lane: must be one of {allowed}", field="lane") from None


def check_tags(value: Any) -> tuple[str, ...]:
    """Tags of a caller's (`Submission.tags`).

    Raises:
        InvalidRequest: They are something else.
    """
    is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= MAX_TAGS
    if is_list and all(isinstance(tag, str) and 0 < len(tag) <= 64 for tag in value):
        return tuple(value)
    raise InvalidRequest(f"tags: must be up to {MAX_TAGS} texts of 1 to 64 characters", field="tags")


def _key(value: Any) -> str:
    # A lone surrogate is a str that has no UTF-8 form.
    if isinstance(value, str) and 0 < len(value) <= 512 and value.encode(errors="ignore").decode() == value:
        return value
    raise InvalidRequest("idempotency_key: must be a text of 1 to 512 characters", field="idempotency_key")


def _metadata(metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise InvalidRequest("metadata: must be a mapping of labels", field="metadata")
    try:
        size = len(orjson.dumps(dict(metadata)))
    except TypeError as exc:
        raise InvalidRequest(f"metadata: cannot be written as JSON: {exc}", field="metadata") from None
    if size > MAX_METADATA_BYTES:
        raise RequestTooLarge(
            f"metadata: is {size:,} bytes; the limit is {MAX_METADATA_BYTES:,}", field="metadata"
        )
    return dict(metadata)


def _max_attempts(value: Any, settings: JobSettings) -> int:
    if value is None:
        return settings.max_attempts
    # A bool is an int to Python, and no number of attempts to anybody.
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 20:
        return value
    raise InvalidRequest("max_attempts: must be a whole number from 1 to 20", field="max_attempts")


def _expires_in_ms(value: Any, settings: JobSettings) -> int:
    if value is None:
        value = settings.expires_in_s
        return max(1, round(value * 1000)) if value else 0
    # NaN is not in any range.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_EXPIRES_IN_S:
        return max(1, round(value * 1000))
    raise InvalidRequest(
        f"expires_in_s: must be over 0 and at most {MAX_EXPIRES_IN_S:,} seconds (366 days)",
        field="expires_in_s",
    )
