"""Reads what an Anthropic request says, and refuses what Anthropic refuses.

Sources: anthropic PyPI 2.12.0 `types/*_param.py`; the refusal of sampling fields: docs of version 2026-10-21;
`between_tools`: Anthropic's migration guide of Claude Sonnet 5.5.
"""

from __future__ import annotations

import re
from typing import Any

from simulator.demand import WORDS, Demand, Tool, ToolChoice, choose_tool
from simulator.refusals import InvalidRequest

VERSIONS = frozenset(("2023-06-01", "2026-10-21"))
_NO_SAMPLING_VERSION = "2026-10-21"
_COUNT_FIELDS = frozenset(
    (
        "messages",
        "model",
        "cache_control",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
        "user_profile_id",
        "workspace_id",
    )
)
_FIELDS = _COUNT_FIELDS | {
    "max_tokens",
    "container",
    "diagnostics",
    "inference_geo",
    "metadata",
    "service_tier",
    "stop_sequences",
    "stream",
    "temperature",
    "top_k",
    "top_p",
}
_SAMPLING = ("temperature", "top_p", "top_k")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MODEL = re.compile(r"claude-([a-z]+)-(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
_ADAPTIVE_FROM = (4, 7)
"""Models from this generation on take neither sampling fields nor a budget for thinking."""
_THINKING_FROM = (5, 0)
"""Models from this generation on think unless told not to."""
_BETWEEN_TOOLS = ("sonnet", (5, 5))
"""The family that takes `between_tools`, from this generation on, in place of `disabled`."""
_EFFORTS_BETWEEN_TOOLS = frozenset(("low", "medium", "high"))
_CHOICES = {"auto": ToolChoice("auto"), "any": ToolChoice("required"), "none": ToolChoice("none")}
_LEAST_BUDGET_TOKENS = 1024
_EFFORTS = frozenset(("low", "medium", "high", "xhigh", "max"))

Json = dict[str, Any]


def check_version(version: bytes | None) -> str:
    """The header `anthropic-version`.

    Raises:
        InvalidRequest: Missing or unknown.
    """
    if version is None:
        raise InvalidRequest("header is required", "anthropic-version")
    text = version.decode("latin-1")
    if text not in VERSIONS:
        raise InvalidRequest(f'"{text}" is not a valid version', "anthropic-version")
    return text


def check_fields(data: Json, version: str, *, is_count: bool = False) -> None:
    """The request's own fields.

    Raises:
        InvalidRequest: One is unknown, missing, or no longer taken.
    """
    for name in data:
        if name not in (_COUNT_FIELDS if is_count else _FIELDS):
            raise InvalidRequest("Extra inputs are not permitted", name)
    if not isinstance(data.get("model"), str) or not data["model"]:
        raise InvalidRequest("Field required", "model")
    if not is_count:
        _check_cap(data.get("max_tokens"))
    if version == _NO_SAMPLING_VERSION or _generation(data["model"]) >= _ADAPTIVE_FROM:
        for name in _SAMPLING:
            if name in data:
                raise InvalidRequest(f"`{name}` is deprecated for this model.")


def demand(data: Json, turns: list[Json]) -> Demand:
    """What is asked for besides words.

    Raises:
        InvalidRequest: Tools, thinking or output settings that are none.
    """
    blocks = turns[-1]["content"]
    tool = choose_tool(
        _tools(data),
        _tool_choice(data),
        is_after_result=any(block["type"] == "tool_result" for block in blocks),
    )
    is_thinking = _is_thinking(data)
    schema = _schema(data)
    if tool is None and schema is None and not is_thinking:
        return WORDS
    return Demand(tool, schema is not None, schema, is_thinking, "thinking" if is_thinking else None)


def _check_cap(cap: object) -> None:
    if cap is None:
        raise InvalidRequest("Field required", "max_tokens")
    if not isinstance(cap, int) or cap < 1:
        raise InvalidRequest("Input should be greater than or equal to 1", "max_tokens")


def _generation(model: str) -> tuple[int, int]:
    """`(4, 7)` for claude-opus-4-7; (0, 0) for names that tell none."""
    match = _MODEL.search(model)
    return (int(match[2]), int(match[3] or 0)) if match else (0, 0)


def _takes_between_tools(model: str) -> bool:
    match = _MODEL.search(model)
    family, since = _BETWEEN_TOOLS
    return match is not None and match[1] == family and _generation(model) >= since


def _listed(data: Json, field: str) -> list[Json]:
    found = data.get(field) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InvalidRequest("Input should be a valid list of objects", field)
    return found


def _tools(data: Json) -> list[Tool]:
    """The functions on offer; tools that Anthropic runs itself are none."""
    found = []
    for number, tool in enumerate(_listed(data, "tools")):
        if tool.get("type", "custom") != "custom":
            continue
        name, schema = tool.get("name"), tool.get("input_schema")
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            text = "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"
            raise InvalidRequest(text, f"tools.{number}.custom.name")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise InvalidRequest("Field required: an object's schema", f"tools.{number}.custom.input_schema")
        found.append(Tool(name, schema))
    return found


def _tool_choice(data: Json) -> ToolChoice:
    choice = data.get("tool_choice") or {"type": "auto"}
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "tool" and isinstance(choice.get("name"), str):
        return ToolChoice("required", (choice["name"],))
    if kind in _CHOICES:
        return _CHOICES[kind]
    raise InvalidRequest("Input should be of type 'auto', 'any', 'tool' or 'none'", "tool_choice")


def _is_thinking(data: Json) -> bool:
    generation, thinking = _generation(data["model"]), data.get("thinking")
    if thinking is None:
        return generation >= _THINKING_FROM
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    off = "between_tools" if _takes_between_tools(data["model"]) else "disabled"
    if kind not in ("adaptive", "enabled", off):
        raise InvalidRequest(f"Input should be of type 'adaptive', 'enabled' or '{off}'", "thinking")
    if kind == "enabled":
        _check_budget(thinking.get("budget_tokens"), data.get("max_tokens"), generation)
    if kind == "between_tools":
        _check_effort(data.get("output_config"))
    return bool(kind != off)


def _check_effort(config: Any) -> None:
    effort = config.get("effort") if isinstance(config, dict) else None
    if effort is not None and effort not in _EFFORTS_BETWEEN_TOOLS:
        raise InvalidRequest('"thinking.type.between_tools" is not supported at this effort.')


def _check_budget(budget: Any, cap: Any, generation: tuple[int, int]) -> None:
    if generation >= _ADAPTIVE_FROM:
        text = (
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" instead.'
        )
        raise InvalidRequest(text)
    field = "thinking.enabled.budget_tokens"
    if not isinstance(budget, int) or budget < _LEAST_BUDGET_TOKENS:
        raise InvalidRequest(f"Input should be greater than or equal to {_LEAST_BUDGET_TOKENS}", field)
    if cap is not None and budget >= cap:
        raise InvalidRequest("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _schema(data: Json) -> Json | None:
    """`output_config.format.schema`."""
    config = data.get("output_config") or {}
    if not isinstance(config, dict) or not config.keys() <= {"effort", "format"}:
        raise InvalidRequest("Extra inputs are not permitted", "output_config")
    if config.get("effort") is not None and config["effort"] not in _EFFORTS:
        raise InvalidRequest(
            "Input should be 'low', 'medium', 'high', 'xhigh' or 'max'", "output_config.effort"
        )
    form = config.get("format")
    if form is None:
        return None
    if (
        not isinstance(form, dict)
        or form.get("type") != "json_schema"
        or not isinstance(form.get("schema"), dict)
    ):
        raise InvalidRequest("Input should be a 'json_schema' with its schema", "output_config.format")
    return dict(form["schema"])
