"""What an error answer says, made safe to store and to print. Pure."""

from __future__ import annotations

import re
from typing import Any

import orjson

MAX_TEXT_CHARS = 500
"""How much of an upstream's own words is kept, in characters."""

_SECRETS = re.compile(
    r"(?i)\b(bearer\s+)[\w.~+/=-]{6,}"  # an Authorization header that was echoed
    r"|\b(?:sk|pk|rk|key|tp|xai|gsk)-[\w*.-]{6,}"  # keys by their prefix, also partly starred
    r"|\bAIza[\w-]{20,}"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_HTML_TITLE = re.compile(r"(?i)<title[^<>]{0,200}>([^<]{1,300})")


def clean_text(text: str) -> str:
    """Foreign text made safe to store and print: one line, no keys, at most `MAX_TEXT_CHARS` characters."""
    text = _CONTROL.sub(" ", text[: 8 * MAX_TEXT_CHARS])
    text = _SECRETS.sub(lambda found: f"{found[1] or ''}[redacted]", text).strip()
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[: MAX_TEXT_CHARS - 1]}…"


def error_text(document: Any, body: bytes) -> str:
    """What the upstream says went wrong, cleaned.

    Args:
        document: The body as JSON, or None when it is not JSON.
        body: The body as it came.
    """
    error = error_of(document)
    if isinstance(error, dict):
        error = _words_of(error)
    if isinstance(error, (str, int)):
        return clean_text(str(error))
    raw = body[: 8 * MAX_TEXT_CHARS].decode("utf-8", "replace").strip()
    if raw.startswith("<"):
        title = _HTML_TITLE.search(raw)
        return clean_text(f"HTML page {title[1].strip()!r}" if title else "HTML page")
    return clean_text(raw) or "no text"


def _words_of(error: dict[str, Any]) -> str:
    """The message of an error object, with the upstream's own words where a gateway wraps them."""
    words = as_text(error.get("message") or error.get("type") or error.get("code") or "unknown error")
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("raw"):
        # OpenRouter says only "Provider returned error"; the reason stands in `raw` (provider-wire.md §3).
        words += f" ({as_text(metadata.get('provider_name', 'upstream'))}: {as_text(metadata['raw'])})"
    return words


def as_text(value: Any) -> str:
    """A value of a JSON document as text: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # orjson reads deeper than it writes
        return "[nested too deep]"


def decoded(body: bytes) -> Any:
    """The body as JSON; None when it is not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def error_of(document: Any) -> Any:
    """The error in a body: an object or a string, perhaps in an array of one; None if there is none."""
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        return None
    return document.get("error") or document.get("message") or document.get("detail")
