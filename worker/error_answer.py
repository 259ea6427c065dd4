"""An error answer, read once: its status, its text, its wait, and the words that tell its meaning. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.error_text import as_text, decoded, error_of, error_text
from worker.stated_wait import stated_wait_s

MAX_VALUE_CHARS = 1000
MAX_WORDS_CHARS = 8000
"""How much of an answer is looked at, in characters: of one value, and together."""

_TOLD_BY_VALUE = frozenset(
    {
        "message", "type", "code", "status", "param", "error", "detail", "msg", "src",
        "error_type", "error_code", "limit_source", "reason", "provider_code", "provider_name", "raw",
        "limitname", "quotaid",
    }
)  # fmt: skip
"""Fields whose text tells what an error means (docs/provider-wire.md §1-§13)."""

_TOLD_BY_PRESENCE = frozenset(
    {"reasons", "patterns", "flagged_input", "signin_url", "resets_at", "availability"}
)
"""Fields that tell it by being there. Their values stay out: `flagged_input` is the prompt."""

_HOLDERS = frozenset({"error", "metadata", "details", "detail", "availability", "violations"})
"""Fields that are looked into. `raw` is not: what a gateway's upstream says is text, not the gateway's fields."""

_TOLD_BY_HEADER = ("x-ratelimit-", "retry-after")

_STATUS_OF_WORD = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "rate_limit_reached_error": 429,
    "resource_exhausted": 429,
    "insufficient_quota": 429,
    "authentication": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "overloaded_error": 529,
}
"""Words used as `code`, `type` or `status` inside a 200 that say more than "failed"."""

_BLANKS = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What an error answer says.

    Attributes:
        status: The status that counts: HTTP's, or the one that an error inside a 2xx names; 200 if it names none.
        text: The upstream's own words for people, cleaned, after the status.
        words: What tells the meaning, in lowercase, one `name=value` a line: known fields of the body,
            `html=` for a page, `header:name=value` for rate headers, `wait=none` if no wait is stated. A
            value cannot pretend to be another line: it has no line breaks.
        retry_after_s: The wait it states, in seconds, or None.
    """

    status: int
    text: str
    words: str
    retry_after_s: float | None


def read_error(status: int, headers: Mapping[str, str], body: bytes, *, now_s: float) -> ErrorAnswer:
    """Read an answer that is not a success.

    Args:
        status: HTTP status. Below 300 the body carries an error all the same.
        headers: The answer's headers, any case.
        body: The answer's body, any form; a cut one is fine.
        now_s: Unix seconds; a wait stated as a date is measured against it.
    """
    document = decoded(body)
    text = error_text(document, body)
    retry_after_s = stated_wait_s(headers, body, now_s)
    lines = [*_header_lines(headers), *_body_lines(document, body)]
    if retry_after_s is None:
        lines.append("wait=none")
    counted, where = status, f"HTTP {status}"
    if status < 300:
        inner = _status_inside(document)
        counted = inner or 200
        where = f"error {inner} inside HTTP {status}" if inner else f"error inside HTTP {status}"
    elif status < 400:
        where += ", and redirects are not followed"
    return ErrorAnswer(counted, f"{where}: {text}", "\n".join(lines)[:MAX_WORDS_CHARS], retry_after_s)


def _header_lines(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        lowered = name.lower()
        if lowered.startswith(_TOLD_BY_HEADER):
            yield _line(f"header:{lowered}", value)


def _body_lines(document: Any, body: bytes) -> Iterator[str]:
    if isinstance(document, (dict, list)):
        yield from _lines(document, depth=0)
        return
    text = body[:MAX_VALUE_CHARS].decode("utf-8", "replace").strip()
    if text.startswith("<"):
        yield "html="
    yield _line("message", text)


def _lines(node: Any, *, depth: int) -> Iterator[str]:
    if depth > 5:  # the deepest known, Gemini's error.details[].violations[], is 5
        return
    if isinstance(node, list):
        for child in node[:20]:
            yield from _lines(child, depth=depth + 1)
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _field_lines(name.lower(), value, depth=depth)


def _field_lines(name: str, value: Any, *, depth: int) -> Iterator[str]:
    if name in _TOLD_BY_PRESENCE and value:
        yield f"{name}="
    if name in _HOLDERS and isinstance(value, (dict, list)):
        yield from _lines(value, depth=depth + 1)
    elif name in _TOLD_BY_VALUE and value is not None:
        yield _line(name, value)
    elif name == "headers" and isinstance(value, dict):  # OpenRouter's error.metadata.headers
        yield from _header_lines(value)


def _line(name: str, value: Any) -> str:
    return f"{name}={_BLANKS.sub(' ', as_text(value)[:MAX_VALUE_CHARS]).lower()}"


def _status_inside(document: Any) -> int | None:
    """The status that an error names: a number in one of its fields, or a word chatq knows."""
    error = error_of(document)
    top = document if isinstance(document, dict) else {}
    for holder in (error, top):
        if not isinstance(holder, dict):
            continue
        metadata = holder.get("metadata")
        error_type = metadata.get("error_type") if isinstance(metadata, dict) else None
        stated = (holder.get("code"), holder.get("status"), holder.get("http_status_code"), error_type)
        for value in (*stated, holder.get("type")):
            if not isinstance(value, (str, int)):
                continue
            word = str(value).lower()
            status = int(word) if re.fullmatch(r"[45][0-9]{2}", word) else _STATUS_OF_WORD.get(word)
            if status is not None:
                return status
    return None
