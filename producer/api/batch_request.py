"""What a client asks for with a batch, checked (docs/openai-wire.md §7.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from producer.api.call import Call
from producer.api.errors import ApiError, not_found
from producer.api.files import LONGEST_S, SHORTEST_S
from producer.api.options import read_options
from producer.batcher.lines import ENDPOINTS
from producer.webhooks.target import check_webhook_url
from shared.duration import read_duration
from shared.job import Lane
from shared.store.batch_record import Batch, Spec

LONGEST_WINDOW_S = 30 * 86_400
"""Longest completion window: files are not kept for longer."""

WEBHOOK_HEADER = "x-chatq-webhook-url"

WEBHOOK_LABEL = "webhook_url"
"""Key of the metadata, for clients that can send neither headers nor fields of their own."""


async def read_spec(call: Call, body: Mapping[str, Any], known: Batch | None = None) -> Spec:
    """The specification of a new batch.

    Args:
        known: The caller's batch that this call, sent before, has made; its file may be gone by now.

    Raises:
        ApiError: 400; a field is wrong. 404; there is no such file of the caller's.
        InvalidRequest: Its webhook cannot be sent there.
        StoreError: No answer from Redis.
    """
    endpoint = _text(body, "endpoint")
    if endpoint not in ENDPOINTS:
        raise _wrong("endpoint", f"must be one of {', '.join(ENDPOINTS)}")
    window = _text(body, "completion_window")
    window_s = _window_s(window)
    file_id = _text(body, "input_file_id")
    metadata = _metadata(body.get("metadata"))
    own = _own_fields(body.get("chatq"))
    output_ttl_s = _output_ttl_s(body.get("output_expires_after"), call.services.settings.files.ttl_s)
    lane, webhook_url = _lane(call, own), _webhook_url(call, own, metadata)
    if known is not None and known.spec.input_file_id == file_id:
        input_blob = known.spec.input_blob
    else:
        input_blob = await _input_blob(call, file_id)
    models = call.principal.models
    return Spec(
        endpoint=endpoint,
        input_file_id=file_id,
        input_blob=input_blob,
        completion_window=window,
        window_s=window_s,
        output_ttl_s=output_ttl_s,
        lane=lane.value,
        metadata=metadata,
        models=None if models is None else list(models),
        budget_usd=call.principal.budget_usd,
        webhook_url=webhook_url,
    )


async def _input_blob(call: Call, file_id: str) -> str:
    record = await call.services.files.get(file_id)
    if record is None or not call.principal.owns(record.client):
        raise not_found("file", file_id)
    if record.purpose != "batch":
        raise _wrong("input_file_id", "must be a file with purpose batch")
    return record.blob


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        raise ApiError(400, f"{name}: this field is required", code="missing_required_parameter", param=name)
    if not isinstance(value, str):
        raise _wrong(name, "must be a text")
    return value


def _window_s(text: str) -> int:
    seconds = read_duration(text) if re.fullmatch(r"[0-9]{1,7}[smhd]", text) else None
    if seconds is None or seconds > LONGEST_WINDOW_S:
        raise _wrong("completion_window", "must be a time like 30m, 1h, 24h or 7d, up to 30d")
    return int(seconds)


def _metadata(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    is_fine = (
        isinstance(value, dict)
        and len(value) <= 16
        and all(len(name) <= 64 and isinstance(v, str) and len(v) <= 512 for name, v in value.items())
    )
    if not is_fine:
        raise _wrong("metadata", "up to 16 names of up to 64 characters, each with a text of up to 512")
    return dict(value)


def _output_ttl_s(value: Any, default_s: int) -> int:
    match value:
        case None:
            return default_s
        case {"anchor": "created_at", "seconds": int(seconds)} if SHORTEST_S <= seconds <= LONGEST_S:
            return seconds
        case _:
            raise _wrong(
                "output_expires_after",
                f'must be {{"anchor": "created_at", "seconds": {SHORTEST_S} to {LONGEST_S}}}',
            )


def _own_fields(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not value.keys() <= {"lane", "webhook_url"}:
        raise _wrong("chatq", "may have lane and webhook_url, and nothing else")
    return value


def _lane(call: Call, own: Mapping[str, Any]) -> Lane:
    stated = own.get("lane")
    if stated is None:
        return read_options(call.headers, {}, Lane.BATCH).lane
    if stated not in list(Lane):
        raise _wrong("chatq.lane", f"must be one of {', '.join(Lane)}")
    return Lane(stated)


def _webhook_url(call: Call, own: Mapping[str, Any], metadata: Mapping[str, str] | None) -> str | None:
    headers = call.headers
    url = own.get("webhook_url") or headers.get(WEBHOOK_HEADER) or (metadata or {}).get(WEBHOOK_LABEL)
    return None if url is None else check_webhook_url(url, call.services.settings.webhooks)


def _wrong(param: str, text: str) -> ApiError:
    return ApiError(400, f"{param}: {text}", code="invalid_value", param=param)
