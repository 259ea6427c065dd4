"""Tools, the choice among them, and the calls of a conversation, read once for wires with other words for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import orjson

from shared.chat import ChatRequest
from worker.upstream.parts import unsupported

_NO_FIELDS: Mapping[str, Any] = {}


class Tool(NamedTuple):
    """A function that the model may call.

    Attributes:
        parameters: JSON Schema of its arguments, or None if it takes none.
        is_strict: The arguments must fit the schema exactly.
        given: The tool as it came.
    """

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    is_strict: bool
    given: Mapping[str, Any]


class ToolChoice(NamedTuple):
    """Whether the model may (`auto`), must not (`none`) or must (`required`) call a tool.

    Attributes:
        names: Of which tools; empty: of any.
    """

    mode: Literal["auto", "none", "required"]
    names: tuple[str, ...] = ()


class Call(NamedTuple):
    """One call of a tool in the history.

    Attributes:
        id: Its id, unlike that of any other call of the conversation.
        arguments: As they came: JSON text, or an object.
        given: The call as it came.
        where: Its message's path, for error messages.
    """

    id: str
    name: str
    arguments: Any
    given: Mapping[str, Any]
    where: str

    def arguments_object(self) -> dict[str, Any]:
        """The arguments as an object.

        Raises:
            CandidateUnfit: They are none.
        """
        return arguments_object(self.name, self.arguments, self.where)


def arguments_object(name: str, arguments: Any, where: str) -> dict[str, Any]:
    """The arguments of a call as an object.

    Args:
        name: The function's.
        arguments: As they came: JSON text, or an object.
        where: Path of the message, for error messages.

    Raises:
        CandidateUnfit: They are none.
    """
    arguments = arguments or {}
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            arguments = None
    if not isinstance(arguments, dict):
        raise unsupported(f"{where}.tool_calls: the arguments of {name!r} are not a JSON object")
    return arguments


def called_function(call: Mapping[str, Any], where: str) -> tuple[str, Any]:
    """The name of the function that a call names, and the arguments as they came.

    Raises:
        CandidateUnfit: It names none.
    """
    function = call.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise unsupported(f"{where}.tool_calls: a call names no function")
    return name, function.get("arguments")


def tools_of(request: ChatRequest) -> list[Tool]:
    """The request's tools.

    Raises:
        CandidateUnfit: One is no function; the message names it.
    """
    return [_tool(tool, f"tools.{position}") for position, tool in enumerate(request.tools or ())]


def _tool(tool: Mapping[str, Any], where: str) -> Tool:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise unsupported(f"{where}: only tools of the type 'function' can be said here")
    name, description, parameters = (function.get(key) for key in ("name", "description", "parameters"))
    if not isinstance(name, str) or not name:
        raise unsupported(f"{where}: the function has no name")
    if parameters is not None and not isinstance(parameters, dict):
        raise unsupported(f"{where}: the parameters of {name!r} are not a JSON Schema object")
    text = description if isinstance(description, str) else None
    return Tool(name, text, parameters, function.get("strict") is True, tool)


def choice_of(request: ChatRequest) -> ToolChoice | None:
    """The request's `tool_choice`, or None when it leaves the choice to the model's default.

    Raises:
        CandidateUnfit: It is none of OpenAI's forms.
    """
    wanted = request.tool_choice
    match wanted:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(wanted)
        case {"type": "function", "function": {"name": str(name)}} if name:
            return ToolChoice("required", (name,))
        case {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(tools)},
        }:
            return ToolChoice(mode, tuple(_allowed(tool) for tool in tools))
        case _:
            raise unsupported("tool_choice: must be auto, none, required, or name functions")


def _allowed(tool: Any) -> str:
    match tool:
        case {"function": {"name": str(name)}} if name:
            return name
        case _:
            raise unsupported("tool_choice: allowed_tools must name functions")


class Calls:
    """The calls of a conversation, while it is read from the beginning: their ids, and what results answer.

    Calls have ids here (`history.modernised` made those that were missing). One that was used before is changed,
    in the call and in its result: some models number their calls anew in each answer, and others take an id
    only once.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # of every call, by the id that is sent
        self._sent_as: dict[str, str] = {}  # by the id that was given; the latest call counts
        self._times_used: dict[str, int] = {}

    @property
    def tool_names(self) -> list[str]:
        """The tools that were called, each once."""
        return list(dict.fromkeys(self._names.values()))

    def read(self, message: Mapping[str, Any], where: str) -> list[Call]:
        """The calls in one message of the assistant.

        Raises:
            CandidateUnfit: A call names no function, or has no id.
        """
        return [self._call(call, where) for call in message.get("tool_calls") or ()]

    def _call(self, call: Mapping[str, Any], where: str) -> Call:
        name, arguments = called_function(call, where)
        given_id = call.get("id")
        if not isinstance(given_id, str) or not given_id:
            raise unsupported(f"{where}.tool_calls: the call of {name!r} has no id")
        call_id = given_id
        while call_id in self._names:
            self._times_used[given_id] = times = self._times_used.get(given_id, 1) + 1
            call_id = f"{given_id}_{times}"
        self._names[call_id], self._sent_as[given_id] = name, call_id
        return Call(call_id, name, arguments, call, where)

    def answered(self, message: Mapping[str, Any], where: str) -> tuple[str, str | None]:
        """The id of the call that a tool's result answers, and the tool's name if it is known.

        Raises:
            CandidateUnfit: It names no call.
        """
        given_id, name = message.get("tool_call_id"), message.get("name")
        if not given_id:
            raise unsupported(f"{where}: a tool's result without tool_call_id")
        call_id = self._sent_as.get(given_id, given_id)
        return call_id, self._names.get(call_id, name if isinstance(name, str) and name else None)
