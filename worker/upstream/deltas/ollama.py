"""Lines of Ollama's stream, of both of its endpoints (docs/provider-wire.md §1)."""

from __future__ import annotations

from typing import Any

import orjson

from worker.upstream.deltas.delta import Choice, call_piece, text_piece


class OllamaDeltas:
    """See `Deltas`. Tool calls come whole."""

    def __init__(self) -> None:
        self._calls = 0

    def read(self, event: dict[str, Any]) -> list[Choice]:
        """See `Deltas.read`."""
        message = event.get("message")
        if not isinstance(message, dict):
            return [
                *text_piece("reasoning_content", event.get("thinking")),
                *text_piece("content", event.get("response")),
            ]
        calls = message.get("tool_calls")
        return [
            *text_piece("reasoning_content", message.get("thinking")),
            *text_piece("content", message.get("content")),
            *(read for call in (calls if isinstance(calls, list) else ()) for read in self._call(call)),
        ]

    def _call(self, call: Any) -> list[Choice]:
        match call:
            case {"function": {"name": str(name), **function}}:
                index, self._calls = self._calls, self._calls + 1
                arguments = orjson.dumps(function.get("arguments") or {}).decode()
                call_id = str(call.get("id") or f"call_{index}")
                return [call_piece(index, id=call_id, name=name, arguments=arguments)]
        return []
