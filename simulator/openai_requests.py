"""What an OpenAI request asks for besides words, in the forms its chat and Responses wires share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from simulator.demand import Tool, ToolChoice
from simulator.refusals import InvalidRequest

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CHOICES: dict[object, ToolChoice] = {
    None: ToolChoice("auto"),
    "auto": ToolChoice("auto"),
    "none": ToolChoice("none"),
    "required": ToolChoice("required"),
}


def offered_tools(functions: Sequence[object], field: str = "tools") -> list[Tool]:
    """Functions on offer, from their `name` and `parameters`.

    Raises:
        InvalidRequest: A function without a name OpenAI takes.
    """
    tools = []
    for number, function in enumerate(functions):
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            where = f"{field}[{number}].function.name"
            raise InvalidRequest(f"Invalid '{where}': it must match '^[a-zA-Z0-9_-]{{1,64}}$'", where)
        parameters = function.get("parameters") if isinstance(function, dict) else None
        tools.append(Tool(name, parameters if isinstance(parameters, dict) else {"type": "object"}))
    return tools


def tool_choice(value: object) -> ToolChoice:
    """`tool_choice`: a word, or a function by name (nested on the chat wire, flat on Responses).

    Raises:
        InvalidRequest: Neither.
    """
    if isinstance(value, dict) and value.get("type") == "function":
        function = value.get("function", value)
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str):
            return ToolChoice("required", (name,))
    if value is None or isinstance(value, str):
        choice = _CHOICES.get(value)
        if choice is not None:
            return choice
    raise InvalidRequest("Invalid value for 'tool_choice'", "tool_choice")


def json_form(form: object, field: str) -> tuple[bool, dict[str, Any] | None]:
    """Whether JSON is asked for, and to which schema.

    Args:
        form: `response_format` or `text.format`; the schema may stand under `json_schema`.

    Raises:
        InvalidRequest: An unknown type, or a schema that is none.
    """
    kind = form.get("type") if isinstance(form, dict) else "text" if form is None else None
    if kind == "text":
        return False, None
    if kind == "json_object":
        return True, None
    if kind != "json_schema" or not isinstance(form, dict):
        raise InvalidRequest(f"Invalid value for '{field}'", field)
    named = form.get("json_schema", form)
    if not isinstance(named, dict) or not isinstance(named.get("name"), str):
        raise InvalidRequest(f"Missing required parameter: '{field}.name'", f"{field}.name")
    schema = named.get("schema")
    if schema is not None and not isinstance(schema, dict):
        raise InvalidRequest(f"Invalid schema for '{field}'", f"{field}.schema")
    return True, schema


def cap_tokens(data: dict[str, Any], *names: str) -> int | None:
    """The first of these limits on generated tokens that is given.

    Raises:
        InvalidRequest: It is no positive integer.
    """
    for name in names:
        cap = data.get(name)
        if cap is None:
            continue
        if not isinstance(cap, int) or cap < 1:
            raise InvalidRequest(f"'{name}' must be an integer of at least 1", name)
        return cap
    return None


def model_name(data: dict[str, Any]) -> str:
    """The model.

    Raises:
        InvalidRequest: None is named.
    """
    model = data.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("you must provide a model parameter", "model")
    return model
