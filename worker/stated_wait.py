"""The wait an error answer states, in every form that providers use (docs/provider-wire.md §0). Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from worker.duration import DURATION, duration_s, worded_duration_s
from worker.error_text import decoded, error_text

MAX_WAIT_S = 31 * 86_400.0
"""Longest stated wait that is believed, in seconds: quota windows are a month at most."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WAIT_IN_TEXT = re.compile(
    rf"(?i)(?:again|retry\w*|wait\w*|reset\w*|available)\b[^\d\n(]{{0,30}}"
    rf"(?<![\w-])((?:{DURATION}\s*)+)(?![\w-])"
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
    document = decoded(body)
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
    number = (value or "").strip()
    return float(number) * unit_s if _NUMBER.fullmatch(number) else None


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
    if (span_s := duration_s(text)) is not None:
        return span_s
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_s


def _wait_in_text_s(text: str) -> float | None:
    found = _WAIT_IN_TEXT.search(text)
    return worded_duration_s(found[1]) if found else None


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
