"""What every answer must pass before its wire reads it, and the parts all wires share."""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson

from shared.chat import completion
from shared.errors import CandidateUnfit, Scope, UpstreamError, UpstreamUnavailable
from shared.usage import Usage
from worker.classify import classify
from worker.dialect import Dialect
from worker.error_text import as_text, clean_text, decoded, error_text
from worker.upstream.wire import Completion

MAX_DEPTH = 200
"""Deepest answer accepted: orjson reads 1,024 levels but writes only 254, and the answer is written again."""


_ERROR_FIELDS = ("error", "object", "message", "code", "type", "status", "metadata")
"""Top-level fields of the errors that providers put into 2xx answers (docs/provider-wire.md §3, §10, §12)."""


def read_answer(body: bytes, dialect: Dialect) -> dict[str, Any]:
    """The JSON object of a 2xx answer.

    Raises:
        UpstreamError: The body is empty, not JSON, not an object, too deep, or carries an error.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise _unreadable(body, exc) from exc
    if isinstance(data, list) and len(data) == 1:  # Gemini puts an array of one around its errors
        data = data[0]
    if not isinstance(data, dict):
        raise malformed("the answer is not a JSON object")
    if data.get("error") or data.get("object") == "error":  # the latter is SGLang's flat form
        raise error_inside({name: data[name] for name in _ERROR_FIELDS if name in data}, dialect)
    # Counting brackets is a hundred times cheaper than walking, and nearly always enough.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_deeper(data, MAX_DEPTH):
        raise malformed(f"the answer is nested over {MAX_DEPTH} levels deep")
    return data


def stated_in(body: bytes) -> dict[str, Any]:
    """What stands in the body of an answer that is none, perhaps a usage beside an error; {} if no object."""
    document = decoded(body)
    return document if isinstance(document, dict) else {}


def error_inside(error: dict[str, Any], dialect: Dialect) -> UpstreamError:
    """The typed error for a 2xx answer, or a part of one, that has an error in it.

    Args:
        error: `{"error": …}` with what stands beside it.
        dialect: Whose error it is.
    """
    return classify(200, {}, as_text(error).encode(), now_s=time.time(), dialect=dialect)


def malformed(text: str, *, code: str = "malformed", scope: Scope = "model") -> UpstreamUnavailable:
    """An answer that is no answer. Another attempt may bring one; this one may be billed."""
    return UpstreamUnavailable(text, code=code, status=200, scope=scope, maybe_billed=True)


def content_refused(text: str) -> CandidateUnfit:
    """The model or the provider's filter let nothing through; another vendor's may."""
    return CandidateUnfit(text, code="content_refused", status=200, maybe_billed=True)


def translated(
    message: dict[str, Any],
    finish_reason: str,
    usage: Usage,
    *,
    id: Any,
    model: Any,
    created: int | None = None,
) -> Completion:
    """A ChatCompletion around what a wire has read from its answer.

    Args:
        message: The assistant's message.
        finish_reason: OpenAI's word, or the provider's own where OpenAI has none.
        usage: What the answer says it took.
        id: The provider's, or nothing: then one is made.
        model: The model that answered.
        created: Unix seconds; None: now.
    """
    response = completion(
        id=str(id or f"chatcmpl-{uuid.uuid4().hex}"),
        created=created or int(time.time()),
        model=str(model),
        message=message,
        finish_reason=finish_reason,
        usage=usage,
    )
    return Completion(response, usage, finish_reason)


def tokens(value: Any) -> int | None:
    """A token count as upstreams write it; None for anything that is not a count."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**53:
        return int(value)
    return None


def _unreadable(body: bytes, exc: orjson.JSONDecodeError) -> UpstreamUnavailable:
    if not body.strip():
        return malformed("the answer is empty", code="empty_body")
    scope: Scope = "provider" if body.lstrip().startswith(b"<") else "model"  # a page is a proxy's
    text = f"the answer is not JSON ({clean_text(str(exc))}): {error_text(None, body)[:200]}"
    return malformed(text, scope=scope)


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return True
