"""Chunks of chat completions into one completion (docs/provider-wire.md §0, §15)."""

from __future__ import annotations

from typing import Any

from worker.upstream.streams.assembler import Text

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
"""Fields of a message that come in pieces."""

LOGPROB_SIZE = 100
"""Characters that one token's logprob counts for: its JSON has 60 to 120."""

MAX_PARTS = 10_000
"""Choices of an answer, and calls of a choice: more are passed over."""


class OpenAiAssembler:
    """See `Assembler`. Complete with `[DONE]`; the usage may stand anywhere, and the last one counts."""

    def __init__(self) -> None:
        self.is_complete = False
        self.size = 0
        self._envelope: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def add(self, event: dict[str, Any]) -> None:
        """See `Assembler.add`."""
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._add_choice(choice)
        # Later chunks repeat the envelope; what is null in one may stand in another.
        for name, value in event.items():
            if name != "choices" and value is not None:
                self._envelope[name] = value

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        if not isinstance(index, int) or not 0 <= index < MAX_PARTS:
            return
        known = self._choices.setdefault(index, _Choice())
        self.size += known.add(choice)
        if choice.get("usage"):  # Moonshot's place
            self._envelope["usage"] = choice["usage"]

    def end(self) -> None:
        """See `Assembler.end`."""
        self.is_complete = True

    def answer(self) -> dict[str, Any] | None:
        """See `Assembler.answer`."""
        if not self.is_complete:
            return None
        choices = [choice.whole(index) for index, choice in sorted(self._choices.items())]
        return {**self._envelope, "object": "chat.completion", "choices": choices}

    def counted(self) -> dict[str, Any]:
        """See `Assembler.counted`."""
        return self._envelope


class _Choice:
    """One of the answer's choices."""

    def __init__(self) -> None:
        self._texts: dict[str, Text] = {}
        self._details: list[Any] = []
        self._calls: dict[int, _Call] = {}
        self._logprobs: dict[str, list[Any]] = {}
        """Of the tokens of `content` and of `refusal`."""
        self._rest: dict[str, Any] = {}

    def add(self, choice: dict[str, Any]) -> int:
        """Take a piece; returns by how many characters that made it longer."""
        self._rest.update((name, value) for name, value in choice.items() if value is not None)
        self._rest.pop("delta", None)
        size = self._add_logprobs(choice.get("logprobs"))
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return size
        for name in _TEXTS:
            piece = delta.get(name)
            if piece is not None:
                size += self._texts.setdefault(name, Text()).add(piece)
        details, calls = delta.get("reasoning_details"), delta.get("tool_calls")
        if isinstance(details, list):
            self._details += details
            size += 200 * len(details)
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                size += self._add_call(call, position)
        return size

    def _add_logprobs(self, logprobs: Any) -> int:
        size = 0
        for name, tokens in (logprobs if isinstance(logprobs, dict) else {}).items():
            if isinstance(tokens, list):
                self._logprobs.setdefault(name, []).extend(tokens)
                size += sum(LOGPROB_SIZE * (1 + _count_tops(token)) for token in tokens)
        return size

    def _add_call(self, call: dict[str, Any], position: int) -> int:
        index = call.get("index")
        if not isinstance(index, int) or not 0 <= index < MAX_PARTS:
            index = self._index_of(call.get("id"), position)
        known = self._calls.get(index)
        if known is None:
            if len(self._calls) >= MAX_PARTS:
                return 0
            known = self._calls[index] = _Call()
        return known.add(call)

    def _index_of(self, call_id: Any, position: int) -> int:
        """Where a piece without an index belongs: some send calls whole, each with an id, and no index."""
        if not call_id:
            return max(self._calls, default=position)
        for index, call in self._calls.items():
            if call.id == call_id:
                return index
        return max(self._calls, default=-1) + 1

    def whole(self, index: int) -> dict[str, Any]:
        """The choice as it stands in an unstreamed answer."""
        if "message" in self._rest:  # sent whole, in the one chunk of a server that does not stream
            return {**self._rest, "index": index}
        is_text = "content" in self._texts and not self._calls  # an empty one, if nothing else came
        message: dict[str, Any] = {"role": "assistant", "content": "" if is_text else None}
        message.update((name, str(text)) for name, text in self._texts.items() if text.size)
        if self._details:
            message["reasoning_details"] = self._details
        if self._calls:
            message["tool_calls"] = [call.whole() for _, call in sorted(self._calls.items())]
        rest = {"finish_reason": None, **self._rest, "index": index, "message": message}
        if self._logprobs:
            last = rest["logprobs"]
            rest["logprobs"] = {**(last if isinstance(last, dict) else {}), **self._logprobs}
        return rest


def _count_tops(token: Any) -> int:
    tops = token.get("top_logprobs") if isinstance(token, dict) else None
    return len(tops) if isinstance(tops, list) else 0


class _Call:
    """One tool call; its name comes first, its arguments in pieces."""

    def __init__(self) -> None:
        self.id: Any = None
        self._name = Text()
        self._arguments = Text()

    def add(self, call: dict[str, Any]) -> int:
        self.id = self.id or call.get("id")
        function = call.get("function")
        if not isinstance(function, dict):
            return 0
        size = 0 if self._name.size else self._name.add(function.get("name"))
        return size + self._arguments.add(function.get("arguments"))

    def whole(self) -> dict[str, Any]:
        function = {"name": str(self._name), "arguments": str(self._arguments)}
        return {"id": self.id, "type": "function", "function": function}
