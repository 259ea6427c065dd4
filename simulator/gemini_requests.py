"""Reads what a Gemini request says, and refuses what Google refuses."""

from __future__ import annotations

from typing import Any

from simulator.demand import WORDS, Demand, Tool, ToolChoice, choose_tool
from simulator.refusals import InvalidRequest
from simulator.wire import is_base64

_CONTENT_FIELDS = frozenset(
    (
        "text",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
    )
)
"""A part has exactly one of these."""
_CHOICES = {
    None: ToolChoice("auto"),
    "MODE_UNSPECIFIED": ToolChoice("auto"),
    "AUTO": ToolChoice("auto"),
    "VALIDATED": ToolChoice("auto"),
    "NONE": ToolChoice("none"),
    "ANY": ToolChoice("required"),
}
_LEVELS = frozenset(("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"))
_JSON = "application/json"

Json = dict[str, Any]


def contents(data: Json) -> list[Json]:
    """The turns of the conversation, each with `parts`.

    Raises:
        InvalidRequest: None, a wrong role, a part that is none, or results that do not match their calls.
    """
    found = _listed(data.get("contents"))
    if not found:
        raise InvalidRequest("* GenerateContentRequest.contents: contents is not specified", "contents")
    for number, content in enumerate(found):
        if content.get("role", "user") not in ("user", "model"):
            raise InvalidRequest("Please use a valid role: user, model.", f"contents[{number}].role")
        _check_parts(content, f"contents[{number}].parts")
    for earlier, later in zip([{}, *found], found, strict=False):
        results = count(later, "functionResponse")
        if results and results != count(earlier, "functionCall"):
            raise InvalidRequest(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
    return found


def check_signatures(model: str, turns: list[Json]) -> None:
    """Gemini 3 wants its thought signatures back with the calls of the turn under way.

    Raises:
        InvalidRequest: A call came back without.
    """
    if not model.startswith("gemini-3"):
        return
    for content in reversed(turns):
        if content.get("role") == "model":
            calls = [part for part in content["parts"] if "functionCall" in part]
            if calls and not calls[0].get("thoughtSignature"):
                raise InvalidRequest("Function call is missing a thought_signature in functionCall parts.")
        elif not count(content, "functionResponse"):
            return


def texts(data: Json, turns: list[Json]) -> tuple[str, str]:
    """System and prompt texts, as `simulator.digest` says."""
    system = data.get("systemInstruction") or {"parts": [{"text": ""}]}
    _check_parts(system, "system_instruction.parts")
    parts = [part.get("text", "") for part in system["parts"]]
    return "\n\n".join(parts), "\n\n".join(text for turn in turns for text in _turn_texts(turn))


def count(content: Json, field: str) -> int:
    """How many parts of a turn are of this kind."""
    return sum(field in part for part in content.get("parts", ()))


def cap_tokens(config: Json) -> int | None:
    """`maxOutputTokens`.

    Raises:
        InvalidRequest: It is no positive integer.
    """
    cap = config.get("maxOutputTokens")
    if cap is not None and (not isinstance(cap, int) or cap < 1):
        raise InvalidRequest("max_output_tokens must be positive.", "generation_config.max_output_tokens")
    return cap


def demand(data: Json, config: Json, turns: list[Json]) -> Demand:
    """What is asked for besides words. The simulated model thinks only if `thinkingConfig` says so.

    Raises:
        InvalidRequest: Settings that contradict each other, or unknown values.
    """
    tool = choose_tool(
        _tools(data),
        _tool_choice(data),
        is_after_result=count(turns[-1], "functionResponse") > 0,
        field="tool_config",
    )
    is_json, schema = _json_form(config)
    is_thinking, trace = _thinking(config.get("thinkingConfig"))
    if tool is None and not is_json and not is_thinking:
        return WORDS
    return Demand(tool, is_json, schema, is_thinking, trace)


def _check_parts(content: Json, path: str) -> None:
    content["parts"] = parts = _listed(content.get("parts"))
    if not parts:
        raise InvalidRequest(f"* {path}: contents.parts must not be empty.", path)
    for number, part in enumerate(parts):
        if len(_CONTENT_FIELDS & part.keys()) != 1:
            text = f"* {path}[{number}].data: required oneof field 'data' must have one initialized field"
            raise InvalidRequest(text, f"{path}[{number}]")
        if not isinstance(part.get("text", ""), str):
            raise InvalidRequest(f"Invalid value at '{path}[{number}].text' (TYPE_STRING)", path)
        _check_blob(part.get("inlineData"), f"{path}[{number}].inline_data")


def _check_blob(blob: Json | None, path: str) -> None:
    if blob is None:
        return
    if not is_base64(blob.get("data")):
        raise InvalidRequest(
            f"Invalid value at '{path}.data' (TYPE_BYTES), Base64 decoding failed", f"{path}.data"
        )
    if not blob.get("mimeType"):
        raise InvalidRequest("Unable to submit request because it has an empty mimeType parameter", path)


def _turn_texts(content: Json) -> list[str]:
    """Each function's result counts as a message of its own, the other parts as one."""
    results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
    others = [part for part in content["parts"] if "functionResponse" not in part]
    said = "\n".join(part["text"] for part in others if "text" in part and not part.get("thought"))
    return [*map(_result_text, results), *([said] if others else [])]


def _result_text(result: Json) -> str:
    """The one text in a result such as `{"result": "…"}`; results of another form count as empty."""
    response = result.get("response")
    values = list(response.values()) if isinstance(response, dict) else []
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""


def _tools(data: Json) -> list[Tool]:
    found = []
    for number, tool in enumerate(_listed(data.get("tools"))):
        for place, function in enumerate(_listed(tool.get("functionDeclarations"))):
            path = f"tools[{number}].function_declarations[{place}]"
            name, schemas = function.get("name"), _schemas(function)
            if not isinstance(name, str) or not name:
                raise InvalidRequest(f"* {path}.name: [FIELD_INVALID]", f"{path}.name")
            if len(schemas) > 1:
                raise InvalidRequest(
                    f"{path}: parameters and parameters_json_schema exclude each other", path
                )
            found.append(Tool(name, schemas[0] if schemas else {"type": "OBJECT"}))
    return found


def _schemas(function: Json) -> list[Json]:
    both = (function.get("parameters"), function.get("parametersJsonSchema"))
    return [schema for schema in both if isinstance(schema, dict)]


def _tool_choice(data: Json) -> ToolChoice:
    config = (data.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode = config.get("mode")
    if mode not in _CHOICES:
        raise InvalidRequest(
            f"Invalid value at 'tool_config.function_calling_config.mode': {mode!r}", "tool_config"
        )
    allowed = config.get("allowedFunctionNames") or ()
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise InvalidRequest(
            "Allowed function names should only be set when the function calling mode is ANY or VALIDATED.",
            "tool_config",
        )
    return ToolChoice(_CHOICES[mode].mode, allowed)


def _json_form(config: Json) -> tuple[bool, Json | None]:
    schemas = [
        config[name] for name in ("responseSchema", "responseJsonSchema") if config.get(name) is not None
    ]
    is_json = config.get("responseMimeType") == _JSON
    if len(schemas) > 1:
        raise InvalidRequest(
            "Only one of response_schema and response_json_schema may be set.", "generation_config"
        )
    if schemas and not is_json:
        raise InvalidRequest(
            f"Schema is only supported with response_mime_type '{_JSON}'.",
            "generation_config.response_schema",
        )
    if schemas and not isinstance(schemas[0], dict):
        raise InvalidRequest("The schema must be an object.", "generation_config.response_schema")
    return is_json, schemas[0] if schemas else None


def _thinking(config: Json | None) -> tuple[bool, str | None]:
    """Whether the model thinks, and where that shows."""
    if not config:
        return False, None
    budget, level = config.get("thinkingBudget"), config.get("thinkingLevel")
    if budget is not None and level is not None:
        raise InvalidRequest(
            "You can only set only one of thinking budget and thinking level.",
            "generation_config.thinking_config",
        )
    if level is not None and level not in _LEVELS:
        raise InvalidRequest(
            f"Invalid value at 'generation_config.thinking_config.thinking_level': {level!r}",
            "generation_config",
        )
    if budget == 0:
        return False, None
    return True, "thought" if config.get("includeThoughts") is True else None


def _listed(value: Any) -> list[Any]:
    """A repeated field; one value may stand for a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
