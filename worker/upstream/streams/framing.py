"""Framing: where one event of a stream ends and the next begins (docs/provider-wire.md §15).

Only whole lines are looked at, so a piece may end anywhere, inside a character too.
"""

from __future__ import annotations

from typing import Protocol


class Framing(Protocol):
    """Cuts the bytes of a stream into the JSON texts of its events."""

    @property
    def pending_bytes(self) -> int:
        """How much is held back until its event is complete."""
        ...

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that this chunk completes."""
        ...

    def end(self) -> list[bytes]:
        """What is left when the stream has ended."""
        ...


class _Lines:
    """Cuts bytes into lines; the end of a line may come with the next chunk."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.pending_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        *ended, rest = chunk.split(b"\n")
        if ended and self._parts:
            ended[0] = b"".join((*self._parts, ended[0]))
            self._parts.clear()
            self.pending_bytes = 0
        if rest:
            self._parts.append(rest)
            self.pending_bytes += len(rest)
        return ended

    def end(self) -> list[bytes]:
        rest, self._parts, self.pending_bytes = b"".join(self._parts), [], 0
        return [rest] if rest else []


class NdjsonFraming:
    """One JSON text a line (Ollama)."""

    def __init__(self) -> None:
        self._lines = _Lines()

    @property
    def pending_bytes(self) -> int:
        """See `Framing.pending_bytes`."""
        return self._lines.pending_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """See `Framing.feed`."""
        return [line for line in self._lines.feed(chunk) if line and not line.isspace()]

    def end(self) -> list[bytes]:
        """See `Framing.end`."""
        return [line for line in self._lines.end() if not line.isspace()]


class SseFraming:
    """Server-sent events: the `data` of each, comments and other fields left out.

    The event's name is left out too: those who name events repeat it inside. Lines that are no field at all
    are kept for the end, where Gemini spreads an error over them (docs/provider-wire.md §8).
    """

    def __init__(self) -> None:
        self._lines = _Lines()
        self._data: list[bytes] = []
        self._stray: list[bytes] = []
        self._held_bytes = 0

    @property
    def pending_bytes(self) -> int:
        """See `Framing.pending_bytes`."""
        return self._lines.pending_bytes + self._held_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """See `Framing.feed`."""
        events: list[bytes] = []
        for line in self._lines.feed(chunk):
            self._take(line, events)
        return events

    def end(self) -> list[bytes]:
        """See `Framing.end`; an event whose closing blank line is missing counts."""
        events: list[bytes] = []
        for line in (*self._lines.end(), b""):
            self._take(line, events)
        if self._stray:
            events.append(b"\n".join(self._stray))
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[5:])
            self._held_bytes += len(line)
        elif line in (b"", b"\r"):
            if self._data:
                events.append(b"\n".join(self._data) if len(self._data) > 1 else self._data[0])
                self._held_bytes -= sum(map(len, self._data)) + 5 * len(self._data)
                self._data.clear()
        elif not line.startswith((b":", b"event:", b"id:", b"retry:")):
            self._stray.append(line)
            self._held_bytes += len(line)
