"""A conversation in today's words, whatever the wire: roles, and ids that tie results to tool calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.chat import ChatRequest

_PLAIN_ROLES = ("user", "system", "developer")


def modernised(request: ChatRequest) -> ChatRequest:
    """The request with `model` as `assistant`, `function` as `tool`, and an id on every call and result.

    A made id is the call's place in the conversation, so the same request has the same ids. An id of the
    caller's is never changed, however long. A request that has all this already is returned as it is.
    """
    for message in request.messages:
        if message["role"] not in _PLAIN_ROLES and _is_old(message):
            return request.model_copy(update={"messages": _modernised(request.messages)})
    return request


def _is_old(message: Mapping[str, Any]) -> bool:
    match message["role"]:
        case "assistant":
            calls = message.get("tool_calls") or ()
            return bool(message.get("function_call")) or any(not call.get("id") for call in calls)
        case "tool":
            return not message.get("tool_call_id")
    return True  # `model`, `function`


def _modernised(messages: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    unanswered: list[tuple[str, str]] = []  # calls so far: id and function
    modern: list[Mapping[str, Any]] = []
    for position, message in enumerate(messages):
        if message["role"] in ("assistant", "model"):
            turn = _assistant(message, position)
            unanswered += [(call["id"], _name_of(call)) for call in turn.get("tool_calls") or ()]
            modern.append(turn)
        elif message["role"] in ("tool", "function"):
            modern.append(_result(message, position, unanswered))
        else:
            modern.append(dict(message))
    return modern


def _assistant(message: Mapping[str, Any], position: int) -> dict[str, Any]:
    turn = {**message, "role": "assistant"}
    legacy_call = turn.pop("function_call", None)
    calls = list(turn.get("tool_calls") or ())
    if not calls and isinstance(legacy_call, dict):
        calls = [{"type": "function", "function": legacy_call}]
    if calls:
        turn["tool_calls"] = [
            call if call.get("id") else {**call, "id": f"call_{position}_{index}"}
            for index, call in enumerate(calls)
        ]
    return turn


def _result(message: Mapping[str, Any], position: int, unanswered: list[tuple[str, str]]) -> dict[str, Any]:
    """A tool's result, tied to the call it names, or to the first unanswered one of its function."""
    result = {**message, "role": "tool"}
    stated, name = message.get("tool_call_id"), message.get("name")
    fitting = [call for call in unanswered if (call[0] == stated if stated else name in (None, call[1]))]
    if fitting:
        unanswered.remove(fitting[0])
    result["tool_call_id"] = stated or (fitting[0][0] if fitting else f"call_{position}")
    return result


def _name_of(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    return str(function.get("name")) if isinstance(function, dict) else ""
