"""The `anthropic` wire: `POST {base}/messages` (docs/provider-wire.md §13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.chat import ChatRequest
from worker.upstream.anthropic_answer import completion, usage_of
from worker.upstream.anthropic_messages import THOUGHTS, conversation, with_cache_control
from worker.upstream.anthropic_schema import closed
from worker.upstream.anthropic_thinking import MIN_BUDGET, Thinking, claude, thinking_for
from worker.upstream.asked import (
    asked_format,
    asked_stops,
    asked_thinking,
    extra_fields,
    merged,
    refuse_unsayable,
    unsayable,
)
from worker.upstream.tools import Tool, ToolChoice, choice_of, tools_of
from worker.upstream.wire import Wire

VERSION = "2023-06-01"
"""Of the API. The newer one (2026-10-21) refuses more and adds nothing that chatq says, and this one is known to
every other server that speaks this wire."""

DEFAULT_MAX_TOKENS = 8192
"""The output limit of a request that names none, where the catalogue knows none either: the API wants one, and
every model since Claude 3.5 takes this one. A thinking budget comes on top of it."""

_TOP_LEVEL = ("cache_control", "speed")
"""Fields of Anthropic's own, passed as they are."""


def request_body(request: ChatRequest, model: str, extra_body: Mapping[str, Any]) -> dict[str, Any]:
    """The request in Anthropic's words.

    The provider's `extra_body` lies under the request's fields; `output_config` of the two is merged field by
    field. Claude models get no temperature, top_p or top_k: newer ones answer 400 (docs/provider-wire.md §16).

    Raises:
        CandidateUnfit: It asks for what Anthropic cannot do, or a message holds what it cannot take.
    """
    refuse_unsayable(request, "Anthropic")
    extra = extra_fields(request)
    known = claude(model)
    said = conversation(request.messages, keeps_thoughts=known is not None)
    if known is not None and not known.completes_answers and said.messages[-1]["role"] == "assistant":
        raise unsayable("messages: this model does not go on with an answer that was begun")
    body: dict[str, Any] = {**extra_body, "model": model, "messages": said.messages}
    if said.system:
        body["system"] = said.system
    body.update(_tools(request, said.tool_names, is_forceable=known is None or known.is_forceable))
    asked = asked_thinking(request)
    thinking = thinking_for(model, asked)
    ours = extra_body.get("thinking") if asked is None else _allowed(thinking, body)
    body.pop("thinking", None)
    body.update(_limits(request, extra.get("thinking") or ours, extra_body.get("max_tokens")))
    body.update(_sampling(request, extra, is_fixed=known is not None))
    config = merged(
        "output_config",
        extra_body.get("output_config"),
        _output(request, thinking),
        extra.get("output_config"),
    )
    if config:
        body["output_config"] = config
    if isinstance(extra.get("user"), str):
        body["metadata"] = {"user_id": extra["user"]}
    body.update((name, extra[name]) for name in _TOP_LEVEL if extra.get(name) is not None)
    return body


def _limits(request: ChatRequest, thinking: Any, default: Any) -> dict[str, Any]:
    """`max_tokens` and `thinking`: the limit counts the budget, which has to be below it."""
    config = merged("thinking", thinking)
    budget = config.get("budget_tokens")
    budget = budget if isinstance(budget, int) else 0
    limit = request.output_limit_tokens
    if limit is None:
        is_enough = isinstance(default, int) and default > budget
        limit = default if is_enough else DEFAULT_MAX_TOKENS + budget
    elif MIN_BUDGET < limit <= budget:
        config["budget_tokens"] = max(MIN_BUDGET, limit // 2)
    elif limit <= budget:
        raise unsayable(f"max_tokens: over {MIN_BUDGET:,} are needed for a model to think")
    return {"max_tokens": limit, "thinking": config} if config else {"max_tokens": limit}


def _allowed(thinking: Thinking, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The `thinking` object, unless it would be a 400 here.

    It is one beside a tool that has to be called; and with a budget, where the model goes on after calls
    that it made without thinking.
    """
    config = thinking.config
    if config is None or config["type"] not in ("enabled", "adaptive"):
        return config
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        return None
    return None if config["type"] == "enabled" and _goes_on_unthought(body["messages"]) else config


def _goes_on_unthought(messages: Sequence[Mapping[str, Any]]) -> bool:
    last = next((message for message in reversed(messages) if message["role"] == "assistant"), None)
    types = [block["type"] for block in last["content"]] if last else []
    return "tool_use" in types and types[0] not in THOUGHTS


def _sampling(request: ChatRequest, extra: Mapping[str, Any], *, is_fixed: bool) -> dict[str, Any]:
    stops = asked_stops(request)
    if any(not stop.strip() for stop in stops):
        raise unsayable("stop: Anthropic takes no blank texts")
    named: dict[str, Any] = {"stop_sequences": stops or None}
    if not is_fixed:
        named.update(temperature=request.temperature, top_p=request.top_p, top_k=extra.get("top_k"))
    return {name: value for name, value in named.items() if value is not None}


def _output(request: ChatRequest, thinking: Thinking) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if thinking.effort is not None:
        config["effort"] = thinking.effort
    wanted = asked_format(request)
    if wanted == "json":
        raise unsayable("response_format: Anthropic knows no JSON mode without a schema; send a json_schema")
    if wanted is not None:
        config["format"] = {"type": "json_schema", "schema": closed(wanted.schema)}
    return config


def _tools(request: ChatRequest, called: Sequence[str], *, is_forceable: bool) -> dict[str, Any]:
    tools, choice = tools_of(request), choice_of(request)
    if not tools:
        if not called:
            return {}
        # Calls in the history want their tools declared, whether or not they may be called again.
        declared = [{"name": name, "input_schema": {"type": "object"}} for name in called]
        return {"tools": declared, "tool_choice": {"type": "none"}}
    if choice is not None and choice.mode == "required" and not is_forceable:
        raise unsayable("tool_choice: this model cannot be made to call a tool")
    names = choice.names if choice is not None else ()
    if names:  # the choice itself names one at most
        tools = [tool for tool in tools if tool.name in names]
        if not tools:
            raise unsayable("tool_choice: names none of the tools")
    fields: dict[str, Any] = {"tools": [_tool(tool) for tool in tools]}
    wanted = _choice(choice, is_parallel=extra_fields(request).get("parallel_tool_calls") is not False)
    if wanted is not None:
        fields["tool_choice"] = wanted
    return fields


def _choice(choice: ToolChoice | None, *, is_parallel: bool) -> dict[str, Any] | None:
    if choice is None and is_parallel:
        return None
    if choice is None or choice.mode == "auto":
        wanted: dict[str, Any] = {"type": "auto"}
    elif choice.mode == "none":
        return {"type": "none"}
    elif len(choice.names) == 1:
        wanted = {"type": "tool", "name": choice.names[0]}
    else:
        wanted = {"type": "any"}
    if not is_parallel:
        wanted["disable_parallel_tool_use"] = True
    return wanted


def _tool(tool: Tool) -> dict[str, Any]:
    declared: dict[str, Any] = {
        "name": tool.name,
        "input_schema": {"type": "object", **(tool.parameters or {})},
    }
    if tool.description:
        declared["description"] = tool.description
    if tool.is_strict:
        declared["strict"] = True
    return with_cache_control(declared, tool.given)


ANTHROPIC = Wire(
    path="/messages",
    request_body=request_body,
    completion=completion,
    usage=usage_of,
    key_header="x-api-key",
    headers={"anthropic-version": VERSION},
)
