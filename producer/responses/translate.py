"""A Responses request as a chat request, for every provider (docs/openai-wire.md §8.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from producer.responses.messages import Item, chat_messages
from producer.responses.request import ResponsesRequest, read_request
from shared.errors import InvalidRequest
from shared.native_responses import FIELD

_SAME = (
    "temperature",
    "top_p",
    "service_tier",
    "user",
    "safety_identifier",
    "prompt_cache_key",
)
"""Fields that are called the same in chat."""

_UNSAYABLE = (
    "conversation",
    "prompt",
    "context_management",
    "moderation",
    "background_options",
    "access_programs",
    "image",
    FIELD,
)
"""Fields of OpenAI's that chat has no words for, and that change the answer; and one of chatq's own."""

_CHATS_OWN = (
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "reasoning_effort",
    "verbosity",
    "functions",
    "function_call",
    "n",
    "modalities",
    "audio",
    "logprobs",
    "format",
)
"""Chat's names of what is called otherwise here: taken for a slip, for one of the two would be dropped."""

_IDLE = ("stream_options", "chatq", "prompt_cache_options", "prompt_cache_retention")
"""Fields that are hints, or that chatq itself reads."""

LOGPROBS = "message.output_text.logprobs"
"""The one word of `include` that chat can give; the others speak of hosted tools and of sealed thoughts."""


def chat_request(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request for a Responses body, in the shape of `shared.chat.ChatRequest`.

    How it is delivered (`background`, `stream`, `store`, `metadata`) is left to the caller, and so is
    `previous_response_id`, which must be resolved before.

    Raises:
        InvalidRequest: A field is wrong, or cannot be said in chat; it is named.
    """
    return translated(read_request(body))


def translated(request: ResponsesRequest, *, earlier: Sequence[Item] | None = None) -> dict[str, Any]:
    """The chat request for a checked body; see `chat_request`.

    Args:
        earlier: The conversation up to `previous_response_id`; None = there is none that is known.

    Raises:
        InvalidRequest: As `chat_request`.
    """
    extra = request.model_extra or {}
    _refuse_unsayable(request, extra, is_resolved=earlier is not None)
    chat: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(request, earlier or ()),
        "max_completion_tokens": request.max_output_tokens,
        "reasoning_effort": request.reasoning.effort if request.reasoning else None,
    }
    chat.update((name, getattr(request, name)) for name in _SAME)
    if request.tools:
        chat["tools"] = [_tool(tool, f"tools.{n}") for n, tool in enumerate(request.tools)]
        chat["tool_choice"] = _tool_choice(request.tool_choice)
        chat["parallel_tool_calls"] = request.parallel_tool_calls
    elif request.tool_choice not in (None, "auto", "none"):
        raise _refused("tool_choice", "there are no tools to choose from")
    if request.text is not None:
        chat["response_format"] = _response_format(request.text.format)
        chat["verbosity"] = request.text.verbosity
    if request.top_logprobs or LOGPROBS in (request.include or ()):
        chat |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    chat |= {name: value for name, value in extra.items() if name not in _IDLE}
    return {name: value for name, value in chat.items() if value is not None}


def _refuse_unsayable(request: ResponsesRequest, extra: Mapping[str, Any], *, is_resolved: bool) -> None:
    for name in _UNSAYABLE:
        if extra.get(name) is not None:
            raise _refused(name, "cannot be translated to chat, which this model is asked in")
    for name in _CHATS_OWN:
        if extra.get(name) is not None:
            raise _refused(name, "belongs to chat completions; the Responses API has another field for it")
    if request.previous_response_id is not None and not is_resolved:
        raise _refused("previous_response_id", "cannot be followed here; send the conversation as input")


def _messages(request: ResponsesRequest, earlier: Sequence[Item]) -> list[dict[str, Any]]:
    items = [*earlier, *input_items(request)]
    if not items:
        raise _refused("input", "this field is required")
    messages = chat_messages(items, known=len(earlier))
    if request.instructions:
        messages.insert(0, {"role": "system", "content": request.instructions})
    if not messages:
        raise _refused("input", "has nothing in it that is said in chat")
    return messages


def input_items(request: ResponsesRequest) -> list[dict[str, Any]]:
    """The input as items; a text is one message of the user's, an empty one is none."""
    if isinstance(request.input, str):
        return [{"role": "user", "content": request.input}] if request.input else []
    return request.input


def _tool(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind, name = tool.get("type"), tool.get("name")
    if kind != "function":
        raise _refused(f"{where}.type", f"{str(kind)[:60]!r} is no function; chatq runs no tools of its own")
    if not isinstance(name, str) or not name:
        raise _refused(f"{where}.name", "must be a text")
    return {"type": "function", "function": {"name": name, **_typed(tool, _TOOL_FIELDS, where)}}


_TOOL_FIELDS: Mapping[str, type] = {"description": str, "parameters": dict, "strict": bool}
_SCHEMA_FIELDS: Mapping[str, type] = {"schema": dict, "description": str, "strict": bool}
_TYPES: Mapping[type, str] = {str: "a text", dict: "an object", bool: "true or false"}


def _typed(given: Mapping[str, Any], fields: Mapping[str, type], where: str) -> dict[str, Any]:
    """The fields of these names that are not null, of the right types."""
    found = {name: given[name] for name in fields if given.get(name) is not None}
    for name, value in found.items():
        if not isinstance(value, fields[name]):
            raise _refused(f"{where}.{name}", f"must be {_TYPES[fields[name]]}")
    return found


def _tool_choice(choice: Any) -> str | dict[str, Any] | None:
    match choice:
        case None | "none" | "auto" | "required":
            return choice
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": [*tools]}:
            allowed = [_allowed(tool, f"tool_choice.tools.{n}") for n, tool in enumerate(tools)]
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
        case _:
            text = "must be none, auto, required, or name functions; chatq runs no tools of its own"
            raise _refused("tool_choice", text)


def _allowed(tool: Any, where: str) -> dict[str, Any]:
    match tool:
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case _:
            raise _refused(where, 'must be {"type": "function", "name": …}')


def _response_format(wanted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    match wanted:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "json_object"}
        case {"type": "json_schema", "name": str(name), "schema": dict()}:
            schema = {"name": name, **_typed(wanted, _SCHEMA_FIELDS, "text.format")}
            return {"type": "json_schema", "json_schema": schema}
        case {"type": "json_schema"}:
            raise _refused("text.format", "a json_schema needs a name and a schema")
        case _:
            raise _refused("text.format.type", "must be one of text, json_object, json_schema")


def _refused(field: str, text: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {text}", field=field)
