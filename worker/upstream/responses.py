"""The `responses` wire: OpenAI's Responses API, `POST {base}/responses` (docs/provider-wire.md §7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shared.chat import ChatRequest
from shared.native_responses import native_request
from worker.upstream.asked import (
    JsonSchema,
    asked_format,
    asked_stops,
    asked_thinking,
    extra_fields,
    merged,
    refuse_unsayable,
    unsayable,
)
from worker.upstream.responses_answer import completion, usage_of
from worker.upstream.responses_input import input_items
from worker.upstream.tools import Tool, ToolChoice, choice_of, tools_of
from worker.upstream.wire import Wire

_SAME = (
    "parallel_tool_calls",
    "service_tier",
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "include",
    "truncation",
    "previous_response_id",
)
"""Fields outside the chat schema that are called the same here, and those of this API's own."""

MIN_OUTPUT_TOKENS = 16
"""The smallest output limit that the API takes (its reference, `max_output_tokens`); lower ones are raised."""

_BEFORE_NONE = re.compile(r"(o\d|gpt-5(?!\.\d))")
"""Models that cannot be told `none`: the o-series, and gpt-5 before 5.1."""


def request_body(request: ChatRequest, model: str, extra_body: Mapping[str, Any]) -> dict[str, Any]:
    """The request in this API's words.

    The provider's `extra_body` lies under the request's fields; `reasoning` and `text` of the two are merged
    field by field. Answers are not kept at the provider (`store`) unless one of them asks for it. A request that
    came in this API's words goes out as it came, over `extra_body`.

    Raises:
        CandidateUnfit: It asks for what this API cannot do, or a message holds what it cannot take.
    """
    native = native_request(request)
    if native is not None:
        return {"store": False, **extra_body, **native, "model": model}
    refuse_unsayable(request, "OpenAI's Responses API")
    if asked_stops(request):
        raise unsayable("stop: OpenAI's Responses API knows no stop texts")
    extra = extra_fields(request)
    body: dict[str, Any] = {"store": False, **extra_body, "model": model}
    body["input"] = input_items(request.messages)
    body.update((name, extra[name]) for name in _SAME if extra.get(name) is not None)
    tools = tools_of(request)
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
        choice = choice_of(request)
        if choice is not None:
            body["tool_choice"] = _choice(choice)
    limit = request.output_limit_tokens
    named: dict[str, Any] = {
        "max_output_tokens": None if limit is None else max(limit, MIN_OUTPUT_TOKENS),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "reasoning": merged(
            "reasoning", extra_body.get("reasoning"), _reasoning(request, model), extra.get("reasoning")
        ),
        "text": merged("text", extra_body.get("text"), _text(request, extra), extra.get("text")),
    }
    body.update((name, value) for name, value in named.items() if value is not None and value != {})
    return body


def refuse_native(request: ChatRequest, wire: Wire) -> None:
    """See that a request in this API's own words is sent nowhere else.

    Raises:
        CandidateUnfit: It is one, and the wire is another.
    """
    if wire is not RESPONSES and native_request(request) is not None:
        raise unsayable("the request asks for what only OpenAI's Responses API can do")


def _reasoning(request: ChatRequest, model: str) -> dict[str, Any]:
    """The effort, and a summary of the thoughts where the trace is asked for: not every account may have one."""
    asked = asked_thinking(request)
    if asked is None:
        return {}
    if asked is False:
        return _least_effort(model.rpartition("/")[2].lower())
    fields: dict[str, Any] = {} if asked is True else {"effort": asked}
    if request.think:
        fields["summary"] = "auto"
    return fields


def _least_effort(name: str) -> dict[str, Any]:
    if not _BEFORE_NONE.match(name):
        # Models that do not reason refuse the field, and need not be told.
        return {"effort": "none"} if name.startswith("gpt-5.") else {}
    return {"effort": "minimal" if name.startswith("gpt-5") else "low"}


def _text(request: ChatRequest, extra: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    wanted = asked_format(request)
    if wanted == "json":
        fields["format"] = {"type": "json_object"}
    elif wanted is not None:
        fields["format"] = _schema(wanted)
    if extra.get("verbosity") is not None:
        fields["verbosity"] = extra["verbosity"]
    return fields


def _schema(wanted: JsonSchema) -> dict[str, Any]:
    named = {
        "type": "json_schema",
        "name": wanted.name,
        "schema": wanted.schema,
        "strict": wanted.is_strict,
        "description": wanted.description,
    }
    return {name: value for name, value in named.items() if value is not None}


def _tool(tool: Tool) -> dict[str, Any]:
    # Left out, `strict` means true here and false in chat completions.
    declared: dict[str, Any] = {
        "type": "function",
        "name": tool.name,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
        "strict": tool.is_strict,
    }
    if tool.description:
        declared["description"] = tool.description
    return declared


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    named = [{"type": "function", "name": name} for name in choice.names]
    if not named:
        return choice.mode
    if choice.mode == "required" and len(named) == 1:
        return named[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": named}


RESPONSES = Wire(path="/responses", request_body=request_body, completion=completion, usage=usage_of)
