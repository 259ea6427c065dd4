"""Lines of a batch as OpenAI defines them: stricter than `chatq run`, which is fed by people (openai-wire §7.5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from producer.batch.lines import RawLine
from producer.batch.reader import MAX_CUSTOM_ID, BadLine, Line, default_id
from producer.responses.request import echo, read_request
from producer.responses.translate import translated
from shared.errors import JobRejected

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"

ENDPOINTS = (CHAT, RESPONSES)
"""What lines may be for."""


class _Bad(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_line(raw: RawLine, endpoint: str) -> Line | BadLine:
    """Read one line that is not blank: its frame and its body, not yet what the body asks for."""
    custom_id = default_id(raw.number)
    try:
        fields = _decode(raw)
        custom_id = _custom_id(fields)
        if fields.get("method") != "POST":
            raise _Bad("invalid_method", "method: must be POST")
        # Files written for Azure leave out `/v1`.
        if fields.get("url") not in (endpoint, endpoint.removeprefix("/v1")):
            raise _Bad("url_mismatch", f"url: must be {endpoint}, the endpoint of the batch")
        return Line(raw.number, custom_id, _body(fields), len(raw.data))
    except _Bad as exc:
        return BadLine(raw.number, custom_id, exc.code, str(exc))


@dataclass(frozen=True, slots=True)
class BatchLines:
    """Reads lines as chat requests; a body that cannot become one makes a bad line, and no more than that."""

    endpoint: str

    def __call__(self, raw: RawLine) -> Line | BadLine:
        """Read one line that is not blank."""
        line = read_line(raw, self.endpoint)
        if isinstance(line, BadLine):
            return line
        try:
            return _as_chat(line) if self.endpoint == RESPONSES else line
        except JobRejected as exc:
            return BadLine(line.number, line.custom_id, exc.code, str(exc))


def _as_chat(line: Line) -> Line:
    request = read_request(line.body)
    return replace(line, body=translated(request), asked=echo(request))


def _decode(raw: RawLine) -> dict[str, Any]:
    if raw.problem is not None:
        raise _Bad(raw.problem.value, "the line is longer than any request may be, or cannot be read")
    try:
        fields = orjson.loads(raw.data)
    except orjson.JSONDecodeError as exc:
        raise _Bad("invalid_json_line", f"This line is not parseable as valid JSON: {exc}") from None
    if not isinstance(fields, dict):
        raise _Bad("invalid_json_line", "This line is not a JSON object")
    return fields


def _custom_id(fields: dict[str, Any]) -> str:
    given = fields.get("custom_id")
    if not isinstance(given, str) or not 0 < len(given) <= MAX_CUSTOM_ID:
        raise _Bad("invalid_custom_id", f"custom_id: must be a text of 1 to {MAX_CUSTOM_ID} characters")
    return given


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    body = fields.get("body")
    if not isinstance(body, dict):
        raise _Bad("invalid_request", "body: must be a JSON object")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise _Bad("missing_required_parameter", "body.model: must name a model")
    if body.get("stream"):
        raise _Bad("stream_not_supported", "body.stream: a batch answers once; leave it out")
    return body
