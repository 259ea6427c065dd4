"""What every answer must pass before its wire reads it, and the parts all wires share."""

from __future__ import annotations

import time
from typing import Any

import orjson

from shared.errors import UpstreamError, UpstreamUnavailable
from worker.classify import classify, clean_text, error_text

MAX_DEPTH = 200
"""Deepest answer accepted: orjson reads 1,024 levels but writes only 254, and the answer is written again."""


def read_answer(body: bytes) -> dict[str, Any]:
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
    if data.get("error"):
        raise error_inside(data["error"])
    # Counting brackets is a hundred times cheaper than walking, and nearly always enough.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _is_deeper(data, MAX_DEPTH):
        raise malformed(f"the answer is nested over {MAX_DEPTH} levels deep")
    return data


def error_inside(error: Any) -> UpstreamError:
    """The typed error for an error object or text that came in a 2xx answer."""
    return classify(200, {}, orjson.dumps({"error": error}), now_s=time.time())


def malformed(text: str, *, code: str = "malformed") -> UpstreamUnavailable:
    """An answer that is no answer. Another attempt may bring one; this one may be billed."""
    return UpstreamUnavailable(text, code=code, status=200, maybe_billed=True)


def tokens(value: Any) -> int | None:
    """A token count as upstreams write it; None for anything that is not a count."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**53:
        return int(value)
    return None


def _unreadable(body: bytes, exc: orjson.JSONDecodeError) -> UpstreamUnavailable:
    if not body.strip():
        return malformed("the answer is empty", code="empty_body")
    return malformed(f"the answer is not JSON ({clean_text(str(exc))}): {error_text(None, body)[:200]}")


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
