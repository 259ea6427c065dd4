"""Lines of Ollama's stream into one answer, for both of its endpoints (docs/provider-wire.md §1)."""

from __future__ import annotations

from typing import Any

from worker.upstream.streams.assembler import Text

_TEXTS = ("response", "thinking")


class OllamaAssembler:
    """See `Assembler`. The last line has `done` and the counters."""

    def __init__(self) -> None:
        self.is_complete = False
        self.size = 0
        self._texts = {name: Text() for name in ("content", *_TEXTS)}
        self._message_thinking = Text()
        self._calls: list[Any] = []
        self._has_message = False
        self._last: dict[str, Any] = {}

    def add(self, event: dict[str, Any]) -> None:
        """See `Assembler.add`."""
        message = event.get("message")
        if isinstance(message, dict):
            self._has_message = True
            self.size += self._texts["content"].add(message.get("content"))
            self.size += self._message_thinking.add(message.get("thinking"))
            calls = message.get("tool_calls")
            if isinstance(calls, list):
                self._calls += calls
                self.size += 200 * len(calls)
        for name in _TEXTS:
            self.size += self._texts[name].add(event.get(name))
        if event.get("done") is True:
            self._last = event
            self.is_complete = True

    def end(self) -> None:
        """See `Assembler.end`; Ollama has no such mark."""

    def answer(self) -> dict[str, Any] | None:
        """See `Assembler.answer`."""
        if not self.is_complete:
            return None
        whole = {**self._last}
        if self._has_message:
            message = {"role": "assistant", "content": str(self._texts["content"])}
            optional = {"thinking": str(self._message_thinking), "tool_calls": self._calls}
            whole["message"] = {**message, **{name: value for name, value in optional.items() if value}}
        else:
            whole.update((name, str(self._texts[name])) for name in _TEXTS)
        return whole

    def counted(self) -> dict[str, Any]:
        """See `Assembler.counted`; the counters come with the end."""
        return self._last
