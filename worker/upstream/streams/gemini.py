"""Gemini's events, each a small answer, into one answer (docs/provider-wire.md §8)."""

from __future__ import annotations

from typing import Any

from worker.upstream.streams.assembler import Text


class GeminiAssembler:
    """See `Assembler`. There is no end mark: whole is what has a finish reason, or a blocked prompt.

    `usageMetadata` stands in every event, and the last one counts.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self.size = 0
        self._envelope: dict[str, Any] = {}
        self._candidates: dict[int, _Candidate] = {}

    def add(self, event: dict[str, Any]) -> None:
        """See `Assembler.add`."""
        candidates = event.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            index = candidate.get("index", 0) if isinstance(candidate, dict) else None
            if isinstance(index, int) and 0 <= index < 1000:
                self.size += self._candidates.setdefault(index, _Candidate()).add(candidate)
        self._envelope.update((name, value) for name, value in event.items() if name != "candidates")

    def end(self) -> None:
        """See `Assembler.end`; Gemini has no such mark."""

    def answer(self) -> dict[str, Any] | None:
        """See `Assembler.answer`."""
        feedback = self._envelope.get("promptFeedback")
        is_blocked = isinstance(feedback, dict) and bool(feedback.get("blockReason"))
        if not is_blocked and not any(one.is_finished for one in self._candidates.values()):
            return None
        candidates = [one.whole() for _, one in sorted(self._candidates.items())]
        return {**self._envelope, **({"candidates": candidates} if candidates else {})}

    def counted(self) -> dict[str, Any]:
        """See `Assembler.counted`."""
        return self._envelope


class _Candidate:
    """One candidate; neighbouring texts of a kind become one part."""

    def __init__(self) -> None:
        self.is_finished = False
        self._rest: dict[str, Any] = {}
        self._parts: list[dict[str, Any]] = []
        self._open: Text | None = None

    def add(self, candidate: dict[str, Any]) -> int:
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        size = 0
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                size += self._add_part(part)
        self._rest.update((name, value) for name, value in candidate.items() if name != "content")
        self.is_finished = bool(self._rest.get("finishReason"))
        return size

    def _add_part(self, part: dict[str, Any]) -> int:
        text = part.get("text")
        if not isinstance(text, str):
            self._close()
            self._parts.append(part)
            return 200
        last = self._parts[-1] if self._parts else None
        if self._open is None or last is None or last.get("thought") != part.get("thought"):
            self._close()
            self._open = Text()
            self._parts.append(dict(part))
        else:
            last.update(part)  # a signature may come with the last piece
        return self._open.add(text)

    def _close(self) -> None:
        if self._open is not None:
            self._parts[-1]["text"] = str(self._open)
            self._open = None

    def whole(self) -> dict[str, Any]:
        self._close()
        return {"content": {"role": "model", "parts": self._parts}, **self._rest}
