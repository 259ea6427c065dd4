"""One streamed answer while it is read: bytes in, and in the end the body of the same answer unstreamed.

Everything behind it reads that body as it reads any other, so an error inside a stream, a broken finish or a
missing field is found where it is found without streaming.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from worker.upstream.answers import malformed
from worker.upstream.streams.assembler import Assembler
from worker.upstream.streams.framing import Framing, NdjsonFraming, SseFraming

_FRAMINGS: dict[str, type[Framing]] = {
    "text/event-stream": SseFraming,
    "application/x-ndjson": NdjsonFraming,
    "application/jsonl": NdjsonFraming,
}
"""By the answer's content type."""

_END_MARK = b"[DONE]"
"""OpenAI's last event, which is not JSON."""


class StreamedAnswer:
    """Collects one answer.

    Args:
        assembler: Of the wire that is spoken; one per answer.
        on_event: Told of each event that is part of the answer, if anybody follows it.
    """

    def __init__(
        self, assembler: Assembler, on_event: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        self._assembler = assembler
        self._on_event = on_event
        self._framing: Framing = SseFraming()
        self._error: dict[str, Any] | None = None

    def begin(self, content_type: str) -> bool:
        """Whether an answer of this content type is a stream; if so, it can be fed."""
        framing = _FRAMINGS.get(content_type.partition(";")[0].strip().lower())
        if framing is not None:
            self._framing = framing()
        return framing is not None

    @property
    def is_complete(self) -> bool:
        """Whether the rest of the stream need not be waited for."""
        return self._assembler.is_complete or self._error is not None

    @property
    def size(self) -> int:
        """Roughly how much memory it takes, in bytes."""
        return self._assembler.size + self._framing.pending_bytes

    def counted(self) -> dict[str, Any]:
        """What was counted so far, where the whole answer would have it."""
        return self._assembler.counted()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            UpstreamUnavailable: An event is not JSON.
        """
        for event in self._framing.feed(chunk):
            self._take(event)

    def body(self) -> bytes:
        """The whole answer, or the error that came in its place, as JSON.

        Raises:
            UpstreamUnavailable: The stream ended before the answer did, or its last event is not JSON.
        """
        for event in self._framing.end():
            self._take(event)
        if self._error is not None:
            return orjson.dumps(self._error)
        return self._encoded(self._assembler.answer())

    def body_of_array(self, body: bytes) -> bytes:
        """The whole answer when its events came as one JSON array, as Gemini sends them without `alt=sse`.

        Any other body is returned as it is: many servers answer in one piece even when asked for a stream.
        """
        if not body.lstrip().startswith(b"["):
            return body
        try:
            events = orjson.loads(body)
        except orjson.JSONDecodeError:
            return body
        for event in events:
            self._add(event)
        return self.body()

    def _take(self, event: bytes) -> None:
        if event.strip() == _END_MARK:
            self._assembler.end()
            return
        try:
            decoded = orjson.loads(event)
        except orjson.JSONDecodeError:
            raise malformed("an event of the stream is not JSON") from None
        self._add(decoded)

    def _add(self, event: Any) -> None:
        if isinstance(event, list) and len(event) == 1:
            event = event[0]
        if not isinstance(event, dict):
            raise malformed("an event of the stream is not a JSON object")
        if self._error is not None:
            return
        if event.get("error") or event.get("object") == "error":
            self._error = event
        else:
            self._assembler.add(event)
            if self._on_event is not None:
                self._on_event(event)

    def _encoded(self, answer: dict[str, Any] | None) -> bytes:
        if answer is None:
            raise malformed("the answer ended before it was done", code="truncated")
        try:
            return orjson.dumps(answer)
        except orjson.JSONEncodeError:  # orjson reads deeper than it writes
            raise malformed("the answer is nested too deep") from None
