"""Events of OpenAI's Responses API: the last one has the whole answer in it (docs/provider-wire.md §7)."""

from __future__ import annotations

from typing import Any

_LAST = ("response.completed", "response.incomplete", "response.failed")


class ResponsesAssembler:
    """See `Assembler`. What the events before the last say is said by it again."""

    def __init__(self) -> None:
        self.is_complete = False
        self.size = 0
        self._response: dict[str, Any] = {}

    def add(self, event: dict[str, Any]) -> None:
        """See `Assembler.add`."""
        kind, response = event.get("type"), event.get("response")
        if kind in _LAST and isinstance(response, dict):
            self._response = response
            self.is_complete = True
        elif kind == "error":
            self._response = {"error": {name: event.get(name) for name in ("message", "code", "param")}}
            self.is_complete = True
        elif "cost" in event:  # OpenCode's, in an event of its own
            self._response["cost"] = event["cost"]

    def end(self) -> None:
        """See `Assembler.end`; such a mark says nothing here."""

    def answer(self) -> dict[str, Any] | None:
        """See `Assembler.answer`."""
        return self._response if self.is_complete else None

    def counted(self) -> dict[str, Any]:
        """See `Assembler.counted`; the usage comes with the end."""
        return self._response
