"""A chat request over HTTP, as a submission."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from producer.api.call import Call
from producer.api.options import Options
from producer.submission import Submission
from shared.chat import parse_request
from shared.errors import InvalidRequest

OWN_FIELDS = ("stream", "stream_options", "store", "metadata")
"""Of OpenAI's request, what is between the caller and chatq; the provider is asked without."""


def chat_submission(call: Call, body: Mapping[str, Any], options: Options, *, stream: bool) -> Submission:
    """The submission of a chat request as OpenAI's clients send it.

    `metadata` are labels of the job: providers refuse it, or would keep it.

    Raises:
        InvalidRequest: A field is wrong.
    """
    request = parse_request({k: v for k, v in body.items() if k not in OWN_FIELDS})
    return Submission(
        request,
        options.lane,
        call.idempotency_key,
        call.principal.client,
        metadata=_metadata(body.get("metadata")),
        source=options.source,
        expires_in_s=options.expires_in_s,
        tags=options.tags,
        stream=stream,
        is_listed=True,
    )


def _metadata(value: Any) -> Mapping[str, str] | None:
    """OpenAI's labels: up to 16 texts."""
    if value is None:
        return None
    is_fine = (
        isinstance(value, dict)
        and len(value) <= 16
        and all(len(k) <= 64 and isinstance(v, str) and len(v) <= 512 for k, v in value.items())
    )
    if not is_fine:
        text = "metadata: up to 16 names of up to 64 characters, each with a text of up to 512"
        raise InvalidRequest(text, field="metadata")
    return dict(value)
