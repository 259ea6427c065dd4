"""Events of OpenAI's Responses API (docs/provider-wire.md §7)."""

from __future__ import annotations

from typing import Any

from worker.upstream.deltas.delta import Choice, arguments_piece, call_piece, text_piece

_THOUGHTS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")


class ResponsesDeltas:
    """See `Deltas`."""

    def __init__(self) -> None:
        self._calls: dict[Any, int] = {}
        """Place of the item of each function call → which call it is."""
        self._thought: Any = None
        """Which part of the thinking trace came last; there is a blank line between two."""

    def read(self, event: dict[str, Any]) -> list[Choice]:
        """See `Deltas.read`."""
        match event:
            case {"type": "response.output_text.delta", "delta": text}:
                return text_piece("content", text)
            case {"type": str(kind), "delta": str(text)} if kind in _THOUGHTS:
                return self._trace(kind, event, text)
            case {
                "type": "response.output_item.added",
                "output_index": int(place),
                "item": {"type": "function_call", "name": str(name), "call_id": str(call_id)},
            }:
                number = self._calls.setdefault(place, len(self._calls))
                return [call_piece(number, id=call_id, name=name, arguments="")]
            case {
                "type": "response.function_call_arguments.delta",
                "output_index": int(place),
                "delta": str(text),
            } if text and place in self._calls:
                return [arguments_piece(self._calls[place], text)]
        return []

    def _trace(self, kind: str, event: dict[str, Any], text: str) -> list[Choice]:
        part = (kind, *(event.get(name) for name in ("output_index", "summary_index", "content_index")))
        is_next = self._thought not in (None, part)
        self._thought = part
        return text_piece("reasoning_content", f"\n\n{text}" if is_next else text)
