"""The `gemini` wire: `POST {base}/models/{model}:generateContent` (docs/provider-wire.md §8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.chat import ChatRequest
from worker.upstream.asked import (
    asked_format,
    asked_stops,
    asked_thinking,
    extra_fields,
    merged,
    refuse_unsayable,
    unsayable,
)
from worker.upstream.gemini_answer import completion, usage_of
from worker.upstream.gemini_contents import conversation
from worker.upstream.gemini_thinking import knows_levels, thinking_config
from worker.upstream.tools import Tool, ToolChoice, choice_of, tools_of
from worker.upstream.wire import Wire

_TOP_LEVEL = ("safetySettings", "cachedContent", "labels", "serviceTier")
"""Fields of Gemini's own, passed as they are."""

_SAMPLING = {
    "top_k": "topK",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
"""Fields outside the chat schema that Gemini spells differently."""

_MAX_STOPS = 5

_SEEDS = 2**31
"""A seed is an int32; larger ones are folded into it, so that the same seed stays the same."""


def request_body(request: ChatRequest, model: str, extra_body: Mapping[str, Any]) -> dict[str, Any]:
    """The request in Gemini's words.

    The provider's `extra_body` lies under the request's fields. `generationConfig` of the two is merged field
    by field, an object of that name in the request last.

    Raises:
        CandidateUnfit: It asks for what Gemini cannot do, or a message holds what it cannot take.
    """
    refuse_unsayable(request, "Gemini")
    extra = extra_fields(request)
    contents, instruction = conversation(request.messages, is_signed=knows_levels(model))
    body: dict[str, Any] = {**extra_body, "contents": contents}
    if instruction:
        body["systemInstruction"] = {"parts": instruction}
    body.update((name, extra[name]) for name in _TOP_LEVEL if extra.get(name) is not None)
    tools = tools_of(request)
    if tools:
        if extra.get("parallel_tool_calls") is False:
            raise unsayable("parallel_tool_calls: Gemini cannot be held to one call at a time")
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in tools]}]
        choice = choice_of(request)
        if choice is not None:
            body["toolConfig"] = {"functionCallingConfig": _calling(choice)}
    config = merged(
        "generationConfig",
        extra_body.get("generationConfig"),
        _sampling(request, extra),
        _format(request, model),
        _thinking(request, model),
        extra.get("generationConfig"),
    )
    if config:
        body["generationConfig"] = config
    return body


def _declaration(tool: Tool) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": tool.name}
    if tool.description:
        declaration["description"] = tool.description
    if tool.parameters:
        declaration["parametersJsonSchema"] = tool.parameters
    return declaration


def _calling(choice: ToolChoice) -> dict[str, Any]:
    if choice.mode == "none":
        return {"mode": "NONE"}
    if not choice.names:
        return {"mode": "ANY" if choice.mode == "required" else "AUTO"}
    # AUTO takes no names; VALIDATED is AUTO that does.
    mode = "ANY" if choice.mode == "required" else "VALIDATED"
    return {"mode": mode, "allowedFunctionNames": list(choice.names)}


def _sampling(request: ChatRequest, extra: Mapping[str, Any]) -> dict[str, Any]:
    stops = asked_stops(request)
    if len(stops) > _MAX_STOPS:
        raise unsayable(f"stop: Gemini takes {_MAX_STOPS} texts at most")
    named: dict[str, Any] = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "maxOutputTokens": request.output_limit_tokens,
        "stopSequences": stops or None,
        "seed": None if request.seed is None else request.seed % _SEEDS,
    }
    named.update((ours, extra.get(theirs)) for theirs, ours in _SAMPLING.items())
    return {name: value for name, value in named.items() if value is not None}


def _format(request: ChatRequest, model: str) -> dict[str, Any]:
    wanted = asked_format(request)
    if wanted is None:
        return {}
    if request.tools and not knows_levels(model):
        raise unsayable("response_format: before Gemini 3, a model with tools cannot be held to JSON")
    if wanted == "json":
        return {"responseMimeType": "application/json"}
    return {"responseMimeType": "application/json", "responseJsonSchema": wanted.schema}


def _thinking(request: ChatRequest, model: str) -> dict[str, Any]:
    config = thinking_config(model, asked_thinking(request))
    return {} if config is None else {"thinkingConfig": config}


GEMINI = Wire(
    path="/models/{model}:generateContent",
    request_body=request_body,
    completion=completion,
    usage=usage_of,
    key_header="x-goog-api-key",
)
