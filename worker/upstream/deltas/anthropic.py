"""Anthropic's named events (docs/provider-wire.md §13)."""

from __future__ import annotations

from typing import Any

from worker.upstream.deltas.delta import Choice, arguments_piece, call_piece, text_piece


class AnthropicDeltas:
    """See `Deltas`. Signatures and citations come with the whole answer."""

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        """Index of the block of each tool call → which call it is."""

    def read(self, event: dict[str, Any]) -> list[Choice]:
        """See `Deltas.read`."""
        match event:
            case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                return self._start(index, block)
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}:
                return text_piece("content", text)
            case {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": text}}:
                return text_piece("reasoning_content", text)
            case {
                "type": "content_block_delta",
                "index": int(index),
                "delta": {"type": "input_json_delta", "partial_json": str(text)},
            } if text and index in self._calls:
                return [arguments_piece(self._calls[index], text)]
        return []

    def _start(self, index: int, block: dict[str, Any]) -> list[Choice]:
        match block:
            case {"type": "text", "text": text}:
                return text_piece("content", text)
            case {"type": "thinking", "thinking": text}:
                return text_piece("reasoning_content", text)
            case {"type": "tool_use", "id": str(call_id), "name": str(name)}:
                number = self._calls.setdefault(index, len(self._calls))
                return [call_piece(number, id=call_id, name=name, arguments="")]
        return []
