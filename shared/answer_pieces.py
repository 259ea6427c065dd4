"""The pieces of an answer that were told so far, and what is left to tell when the whole answer is there.

A piece is a choice of OpenAI's streamed chunks: `{"index", "delta": {"role"?, "content"?, "tool_calls"? …},
"finish_reason"}`. Providers' pieces and their whole answers need not agree to the letter; nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Choice = dict[str, Any]

_ALIASES = {"reasoning": "reasoning_content"}
"""Names of whole answers that pieces have another word for."""


class Told:
    """What was told of one answer."""

    def __init__(self) -> None:
        self._choices: dict[int, _ToldChoice] = {}

    def add(self, choices: list[Choice]) -> None:
        """Take the next pieces; what is not understood is passed over.

        The first piece of each choice is given its role, if it has none.
        """
        for choice in choices:
            index, delta = choice.get("index"), choice.get("delta")
            if not isinstance(index, int) or not isinstance(delta, dict):
                continue
            told = self._choices.get(index)
            if told is None:
                told = self._choices[index] = _ToldChoice()
                choice["delta"] = {"role": "assistant", **delta}
            told.add(delta)
            told.is_finished |= choice.get("finish_reason") is not None

    def rest(self, response: dict[str, Any]) -> list[Choice]:
        """What is left of a ChatCompletion: ends of texts, fields that do not come in pieces, why it finished."""
        whole = response.get("choices")
        rest = []
        for place, choice in enumerate(whole if isinstance(whole, list) else ()):
            message = choice.get("message") if isinstance(choice, dict) else None
            if not isinstance(message, dict):
                continue
            stated = choice.get("index")
            index = stated if isinstance(stated, int) else place
            told = self._choices.get(index) or _ToldChoice()
            delta = dict(told.rest(message))
            if index not in self._choices:
                delta = {"role": "assistant", **delta}
            if delta or not told.is_finished:
                finish_reason = None if told.is_finished else choice.get("finish_reason")
                piece = {"index": index, "delta": delta, "finish_reason": finish_reason}
                if index not in self._choices and choice.get("logprobs") is not None:
                    piece["logprobs"] = choice["logprobs"]
                rest.append(piece)
        return rest


class _ToldChoice:
    """What was told of one choice."""

    def __init__(self) -> None:
        self.is_finished = False
        self._texts: dict[str, list[str]] = {}
        self._others: set[str] = set()
        self._arguments: dict[int, list[str]] = {}
        """Of each tool call."""

    def add(self, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name == "tool_calls":
                self._add_calls(value)
            elif isinstance(value, str):
                self._texts.setdefault(name, []).append(value)
            else:
                self._others.add(name)

    def _add_calls(self, calls: Any) -> None:
        for call in calls if isinstance(calls, list) else ():
            match call:
                case {"index": int(index), "function": {"arguments": str(arguments)}}:
                    self._arguments.setdefault(index, []).append(arguments)
                case {"index": int(index)}:
                    self._arguments.setdefault(index, [])

    def rest(self, message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """The fields of the piece that completes it."""
        for field, value in message.items():
            name = _ALIASES.get(field, field)
            if name == "role" or value is None:
                continue
            if name == "tool_calls":
                value = list(self._rest_of_calls(value))
            elif isinstance(value, str):
                value = _end(value, self._texts.get(name, ()))
            elif name in self._others:
                continue
            if value:
                yield name, value

    def _rest_of_calls(self, calls: Any) -> Iterator[dict[str, Any]]:
        for index, call in enumerate(calls if isinstance(calls, list) else ()):
            told = self._arguments.get(index)
            if told is None:
                if isinstance(call, dict):
                    yield {"index": index, **call}
                continue
            match call:
                case {"function": {"arguments": str(arguments)}} if end := _end(arguments, told):
                    yield {"index": index, "function": {"arguments": end}}


def _end(text: str, told: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    """The end of a text of which a part was told; nothing if that was another text."""
    said = "".join(told)
    return text[len(said) :] if text.startswith(said) else ""
