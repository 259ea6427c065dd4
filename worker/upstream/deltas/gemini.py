"""Gemini's events, each a small answer (docs/provider-wire.md §8)."""

from __future__ import annotations

from typing import Any

import orjson

from worker.upstream.deltas.delta import Choice, call_piece, text_piece


class GeminiDeltas:
    """See `Deltas`. Function calls come whole; of several candidates the first is the answer."""

    def __init__(self) -> None:
        self._calls = 0

    def read(self, event: dict[str, Any]) -> list[Choice]:
        """See `Deltas.read`."""
        match event:
            case {"candidates": [{"content": {"parts": [*parts]}, **candidate}, *_]}:
                if candidate.get("index", 0) == 0:
                    return [read for part in parts if isinstance(part, dict) for read in self._part(part)]
        return []

    def _part(self, part: dict[str, Any]) -> list[Choice]:
        match part:
            case {"functionCall": {"name": str(name), **function}}:
                index, self._calls = self._calls, self._calls + 1
                arguments = orjson.dumps(function.get("args") or {}).decode()
                call_id = str(function.get("id") or f"call_{index}")
                return [call_piece(index, id=call_id, name=name, arguments=arguments)]
        return text_piece("reasoning_content" if part.get("thought") else "content", part.get("text"))
