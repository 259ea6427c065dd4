"""Function names that providers accept: the caller's are made safe on the way out and restored on the way in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.chat import ChatRequest
from worker.upstream.deltas import Choice
from worker.upstream.wire import Completion

MAX_CHARS = 64
"""Longest name that all accept (OpenAI's limit)."""

_SAFE = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_CHARS}}}")
_UNSAFE_CHARACTER = re.compile(r"[^A-Za-z0-9_-]")


def safe(request: ChatRequest) -> ChatRequest:
    """The request with safe names, wherever one stands; the same object if all are safe."""
    renamed = _renamed(request)
    if not renamed:
        return request
    changes: dict[str, Any] = {"messages": [_with_names(message, renamed) for message in request.messages]}
    if request.tools:
        changes["tools"] = [_with_name(tool, renamed) for tool in request.tools]
    if isinstance(request.tool_choice, dict):
        changes["tool_choice"] = _with_name(request.tool_choice, renamed)
    return request.model_copy(update=changes)


def restored(answer: Completion, request: ChatRequest) -> Completion:
    """The answer with the caller's names in its calls."""
    _restore(_calls(answer.response["choices"], "message"), request)
    return answer


def restored_piece(choices: list[Choice], request: ChatRequest) -> None:
    """The same in a piece of it; a call's name is in one piece."""
    _restore(_calls(choices, "delta"), request)


def _restore(calls: Iterator[dict[str, Any]], request: ChatRequest) -> None:
    if request.tools:
        original = {new: old for old, new in _renamed(request).items()}
        for call in calls if original else ():
            name = call["function"].get("name")
            if isinstance(name, str):
                call["function"]["name"] = original.get(name, name)


def _renamed(request: ChatRequest) -> dict[str, str]:
    """Caller's name -> safe name, for those that are not safe; the same request always has the same."""
    names = dict.fromkeys(_names(request))
    unsafe = [name for name in names if not _SAFE.fullmatch(name)]
    taken = names.keys() - set(unsafe)
    renamed = {}
    for name in unsafe:
        renamed[name] = _free(_UNSAFE_CHARACTER.sub("_", name) or "_", taken)
        taken.add(renamed[name])
    return renamed


def _free(name: str, taken: set[str]) -> str:
    """The name, cut, with a number at its end if another function has it."""
    wanted, number = name[:MAX_CHARS], 1
    while wanted in taken:
        number += 1
        ending = f"_{number}"
        wanted = name[: MAX_CHARS - len(ending)] + ending
    return wanted


def _names(request: ChatRequest) -> Iterator[str]:
    functions = [tool.get("function") for tool in request.tools or ()]
    for message in request.messages:
        functions += [call.get("function") for call in message.get("tool_calls") or ()]
    for function in functions:
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            yield function["name"]


def _with_names(message: Mapping[str, Any], renamed: Mapping[str, str]) -> Mapping[str, Any]:
    calls = message.get("tool_calls")
    if calls:
        return {**message, "tool_calls": [_with_name(call, renamed) for call in calls]}
    name = message.get("name")
    if message["role"] == "tool" and isinstance(name, str) and name in renamed:
        return {**message, "name": renamed[name]}
    return message


def _with_name(holder: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """A tool, a call or a choice, whose `function` has a name."""
    function = holder.get("function")
    if not isinstance(function, dict):
        return holder
    name = function.get("name")
    if not isinstance(name, str) or name not in renamed:
        return holder
    return {**holder, "function": {**function, "name": renamed[name]}}


def _calls(choices: list[Any], part: str) -> Iterator[dict[str, Any]]:
    for choice in choices:
        message = choice.get(part) if isinstance(choice, dict) else None
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict) and isinstance(call.get("function"), dict):
                yield call
