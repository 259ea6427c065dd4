"""Requests as parsed and replies as bytes: HTTP/1.1 framing."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from http import HTTPStatus

JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"


@dataclass(slots=True)
class Request:
    """One complete HTTP request."""

    method: bytes
    target: str
    """Path and query."""
    headers: dict[bytes, bytes]
    """Lower-case names; only those the simulator reads."""
    body: bytes
    is_keep_alive: bool


@dataclass(slots=True)
class Content:
    """A reply before framing."""

    content_type: str
    pieces: list[bytes]
    """The body, or a stream's events in order."""
    is_stream: bool = False
    headers: bytes = b""
    """Further header lines that belong to it, each ending in CRLF."""


def plain(content_type: str, body: bytes) -> Content:
    """A body sent in one piece."""
    return Content(content_type, [body])


def render(
    status: int,
    content: Content,
    *,
    extra: bytes = b"",
    is_keep_alive: bool = True,
    announced_bytes: int | None = None,
) -> tuple[bytes, bytes]:
    """Head and body as they go on the wire; a stream's events become chunks.

    Args:
        extra: Further header lines, each ending in CRLF.
        announced_bytes: Content-Length of a body of which `content` is only a part; None: its own length.
    """
    opening = _opening(status, content.content_type, is_keep_alive) + content.headers
    if content.is_stream:
        chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in content.pieces]
        return b"%b%btransfer-encoding: chunked\r\n\r\n" % (opening, extra), b"".join([*chunks, b"0\r\n\r\n"])
    body = content.pieces[0]
    length = len(body) if announced_bytes is None else announced_bytes
    return b"%b%bcontent-length: %d\r\n\r\n" % (opening, extra, length), body


@functools.lru_cache(maxsize=256)
def _opening(status: int, content_type: str, is_keep_alive: bool) -> bytes:
    connection = "" if is_keep_alive else "connection: close\r\n"
    phrase = _PHRASES.get(status) or HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {content_type}\r\n{connection}".encode()


_PHRASES = {529: "Site Overloaded"}
"""Statuses in use that the standard does not know."""
