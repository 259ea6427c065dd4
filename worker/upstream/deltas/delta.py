"""A delta: what one event adds to an answer, as choices of a streamed chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Choice = dict[str, Any]
"""`{"index", "delta": {"content"? …}, "finish_reason": None}`; why it finished is known with the whole answer."""

OnDelta = Callable[[list[Choice]], None]
"""Told of each delta; never of one without a choice."""


class Deltas(Protocol):
    """Reads one stream; events are foreign, and in any shape."""

    def read(self, event: dict[str, Any]) -> list[Choice]:
        """What the next event adds; often nothing."""
        ...


def piece(**delta: Any) -> Choice:
    """A delta of the only choice there is."""
    return {"index": 0, "delta": delta, "finish_reason": None}


def text_piece(name: str, text: Any) -> list[Choice]:
    """A piece of a text of the only choice; nothing for what is empty or no text."""
    return [piece(**{name: text})] if text and isinstance(text, str) else []


def call_piece(index: int, *, id: str, name: str, arguments: str) -> Choice:
    """The beginning of a tool call, or all of it.

    Args:
        index: Which of the answer's calls.
        arguments: JSON, or the first part of it.
    """
    function = {"name": name, "arguments": arguments}
    return piece(tool_calls=[{"index": index, "id": id, "type": "function", "function": function}])


def arguments_piece(index: int, arguments: str) -> Choice:
    """More of a tool call's arguments."""
    return piece(tool_calls=[{"index": index, "function": {"arguments": arguments}}])
