"""What an error answer means: its class, the wait it states, and its text. Pure.

`classify` sorts by what every provider shares: an error inside the body first, the status last
(docs/provider-wire.md §17, general rules). The table provider by provider, with scopes to cool down and
candidates to go to next, comes with limits and failover; it refines these classes, it does not replace them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from shared.errors import CredentialRejected, RateLimited, RequestRefused, UpstreamError, UpstreamUnavailable

MAX_TEXT_CHARS = 500
"""How much of an upstream's own words is kept, in characters."""

MAX_WAIT_S = 31 * 86_400.0
"""Longest stated wait that is believed, in seconds: quota windows are a month at most."""

_TRANSIENT_4XX = frozenset({408, 409, 425, 498})
_CREDENTIAL = frozenset({401, 402, 403})
_GATEWAY_TIMEOUTS = frozenset({408, 504, 524})
"""A proxy gave up waiting: the model may have worked on, so the call may be billed."""

_STATUS_OF_WORD = {"rate_limit_exceeded": 429, "resource_exhausted": 429, "authentication": 401}
"""Words used as `code`, `type` or `status` inside a 200 that say more than "failed"."""


def classify(status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> UpstreamError:
    """The typed error for an answer that is not a success.

    Args:
        status: HTTP status. Below 400 the body carries an error all the same (`error` inside a 200).
        headers: The answer's headers, any case.
        body: The answer's body, any form; a cut one is fine.
        now_s: Unix seconds; a wait stated as a date is measured against it.
    """
    document = _json(body)
    text = error_text(document, body)
    retry_after_s = stated_wait_s(headers, body, now_s)
    if status >= 400:
        return _by_status(status, f"HTTP {status}: {text}", retry_after_s)
    if 300 <= status < 400:
        return RequestRefused(f"HTTP {status}: redirects are not followed", code="redirected", status=status)
    inner = _status_inside(document)
    if inner is not None:
        return _by_status(inner, f"error {inner} inside HTTP {status}: {text}", retry_after_s)
    return UpstreamUnavailable(
        f"error inside HTTP {status}: {text}",
        code="error_in_answer",
        status=status,
        retry_after_s=retry_after_s,
        maybe_billed=True,
    )


def _by_status(status: int, message: str, retry_after_s: float | None) -> UpstreamError:
    if status == 429:
        return RateLimited(message, status=status, retry_after_s=retry_after_s)
    if status in _CREDENTIAL:
        return CredentialRejected(message, status=status, retry_after_s=retry_after_s)
    if status >= 500 or status in _TRANSIENT_4XX:
        return UpstreamUnavailable(
            message,
            code="server_error",
            status=status,
            retry_after_s=retry_after_s,
            maybe_billed=status in _GATEWAY_TIMEOUTS,
        )
    return RequestRefused(message, status=status, retry_after_s=retry_after_s)


def _status_inside(document: Any) -> int | None:
    """The status that an error object names: a number in `code` or `status`, or a word chatq knows."""
    error = _error_of(document)
    if not isinstance(error, dict):
        return None
    metadata = error.get("metadata")
    error_type = metadata.get("error_type") if isinstance(metadata, dict) else None
    for value in (error.get("code"), error.get("status"), error_type, error.get("type")):
        word = str(value).lower()
        status = int(word) if re.fullmatch(r"[45]\d\d", word) else _STATUS_OF_WORD.get(word)
        if status is not None:
            return status
    return None


# --- the text ---------------------------------------------------------------------------------------------

_SECRETS = re.compile(
    r"(?i)\b(bearer\s+)[\w.~+/=-]{6,}"  # an Authorization header that was echoed
    r"|\b(?:sk|pk|rk|key|tp|xai|gsk)-[\w*.-]{6,}"  # keys by their prefix, also partly starred
    r"|\bAIza[\w-]{20,}"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_HTML_TITLE = re.compile(r"(?is)<title[^>]*>(.*?)</title>")


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
    error = _error_of(document)
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
    words = str(error.get("message") or error.get("type") or error.get("code") or "unknown error")
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("raw"):
        # OpenRouter says only "Provider returned error"; the reason stands in `raw` (provider-wire.md §3).
        words += f" ({metadata.get('provider_name', 'upstream')}: {metadata['raw']})"
    return words


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _error_of(document: Any) -> Any:
    """The error in a body: an object or a string, perhaps in an array of one; None if there is none."""
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        return None
    return document.get("error") or document.get("message") or document.get("detail")


# --- the wait ---------------------------------------------------------------------------------------------

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(
    r"(\d+(?:\.\d+)?)\s*(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)(?![a-z])",
    re.IGNORECASE,
)
_GO_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WAIT_IN_TEXT = re.compile(
    rf"(?i)(?:again|retry\w*|wait\w*|reset\w*|available)\b[^\d\n(]{{0,30}}"
    rf"(?<![\w-])((?:{_DURATION.pattern}\s*)+)(?![\w-])"
)
_WAIT_FIELDS = frozenset(
    {"retrydelay", "retryafter", "resetsat", "resetat", "resettime", "resetinsec", "resetin"}
)
_MAX_DEPTH = 6
"""How deep a body is searched for a wait; the deepest known (`error.metadata.headers`) is 3."""


def stated_wait_s(headers: Mapping[str, str], body: bytes, now_s: float) -> float | None:
    """The wait the upstream states, from the most to the least trusted place; None if it states none.

    The order is docs/provider-wire.md §0: `retry-after-ms`, `retry-after`, body fields, text, the reset
    headers of an empty bucket. A wait over `MAX_WAIT_S` is not believed and the next place is asked.

    Args:
        headers: The answer's headers, any case.
        body: The answer's body.
        now_s: Unix seconds; dates are measured against it.

    Returns:
        Seconds, >= 0. Zero is what some upstreams state: the caller keeps a floor of its own.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    document = _json(body)
    for wait_s in _stated_waits_s(lowered, document, body, now_s):
        if wait_s is not None and wait_s <= MAX_WAIT_S:
            return max(wait_s, 0.0)
    return None


def _stated_waits_s(
    headers: dict[str, str], document: Any, body: bytes, now_s: float
) -> Iterator[float | None]:
    yield _seconds(headers.get("retry-after-ms"), unit_s=0.001)
    retry_after = headers.get("retry-after")
    yield _seconds(retry_after)
    yield _until_http_date_s(retry_after, now_s)
    yield from (_moment_or_span_s(value, now_s) for value in _wait_fields(document))
    yield _wait_in_text_s(error_text(document, body))
    yield _empty_bucket_s(headers, now_s)
    yield from (_empty_bucket_s(inner, now_s) for inner in _header_objects(document))


def _seconds(value: str | None, unit_s: float = 1.0) -> float | None:
    if value is None or not _NUMBER.fullmatch(value.strip()):
        return None
    return float(value) * unit_s


def _until_http_date_s(value: str | None, now_s: float) -> float | None:
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_s


def _moment_or_span_s(value: Any, now_s: float) -> float | None:
    """Seconds until a reset value: seconds, `36s`, `6m0s`, RFC 3339, epoch seconds or milliseconds."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    text = str(value).strip()
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number < 1e9:
            return number
        return number / (1000.0 if number >= 1e11 else 1.0) - now_s
    if _GO_DURATION.fullmatch(text):
        return _duration_s(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_s


def _duration_s(text: str) -> float:
    """Sum of `1h2m3s`, `644ms`, `1 seconds`."""
    total_s = 0.0
    for number, unit in _DURATION.findall(text):
        unit = unit.lower()
        total_s += float(number) * _UNIT_S["ms" if unit.startswith(("ms", "milli")) else unit[0]]
    return total_s


def _wait_in_text_s(text: str) -> float | None:
    found = _WAIT_IN_TEXT.search(text)
    return _duration_s(found[1]) if found else None


def _wait_fields(document: Any) -> Iterator[Any]:
    """Values of the fields that are known to hold a wait, wherever they stand."""
    for name, value in _fields(document, 0):
        if name.replace("_", "").lower() in _WAIT_FIELDS:
            yield value


def _header_objects(document: Any) -> Iterator[dict[str, str]]:
    """Rate headers that a gateway put into the body (OpenRouter's `error.metadata.headers`)."""
    for name, value in _fields(document, 0):
        if name == "headers" and isinstance(value, dict):
            yield {str(key).lower(): str(inner) for key, inner in value.items()}


def _fields(node: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth >= _MAX_DEPTH:
        return
    if isinstance(node, dict):
        yield from node.items()
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _fields(child, depth + 1)


def _empty_bucket_s(headers: dict[str, str], now_s: float) -> float | None:
    """The longest reset among the buckets whose `remaining` is 0 (x-ratelimit-*, anthropic-ratelimit-*)."""
    waits_s = []
    for name, value in headers.items():
        if "ratelimit" in name and "remaining" in name and _seconds(value) == 0:
            wait_s = _moment_or_span_s(headers.get(name.replace("remaining", "reset")), now_s)
            if wait_s is not None and math.isfinite(wait_s):
                waits_s.append(wait_s)
    return max(waits_s, default=None)
