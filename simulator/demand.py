"""What a request asks of its answer besides words: JSON, a tool call, a trace of thoughts.

The simulated model calls the first function it may call, unless the conversation's last turn is a tool's result:
then it answers in words, so that a client's tool loop ends. A call that is required is made in any case.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from simulator.refusals import InvalidRequest

ToolMode = Literal["auto", "none", "required"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function on offer."""

    name: str
    schema: Mapping[str, Any]
    """JSON Schema of its arguments."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """How free the model is."""

    mode: ToolMode = "auto"
    allowed: Collection[str] = ()
    """Names of the only functions it may call; empty: all of them."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The form of one answer."""

    tool: Tool | None = None
    """The function to call; None: answer in words."""
    is_json: bool = False
    schema: Mapping[str, Any] | None = None
    """What the JSON has to look like; None: any object."""
    is_thinking: bool = False
    trace: str | None = None
    """The field in which thoughts are shown; None: they are only counted."""


WORDS = Demand()
"""Nothing special: what most requests ask for."""


def choose_tool(
    tools: Sequence[Tool], choice: ToolChoice, *, is_after_result: bool, field: str = "tool_choice"
) -> Tool | None:
    """The function to call, or None for an answer in words.

    Args:
        is_after_result: The conversation's last turn is a tool's result.
        field: The request's field that states the choice, for the error.

    Raises:
        InvalidRequest: A call is required, and no function may be called.
    """
    open_tools = [tool for tool in tools if not choice.allowed or tool.name in choice.allowed]
    if choice.mode == "required":
        if not open_tools:
            raise InvalidRequest("a tool call is required, and no tool of that name is offered", field)
        return open_tools[0]
    if choice.mode == "none" or is_after_result or not open_tools:
        return None
    return open_tools[0]
