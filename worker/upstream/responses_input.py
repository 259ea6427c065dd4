"""A conversation as the input items of OpenAI's Responses API (docs/provider-wire.md §7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from worker.upstream.parts import Image, Text, parts_of, text_of, unsupported
from worker.upstream.tools import Call, Calls

Item = dict[str, Any]

_DETAILS = ("low", "high", "auto", "original")


def input_items(messages: Sequence[Mapping[str, Any]]) -> list[Item]:
    """The messages as items, in their order; calls and results are items of their own.

    Raises:
        CandidateUnfit: A message holds what this API cannot take.
    """
    calls = Calls()
    items: list[Item] = []
    for position, message in enumerate(messages):
        where = f"messages.{position}"
        role = message["role"]
        if role == "assistant":
            items += _said(message, where, calls)
        elif role in ("user", "system", "developer"):
            items.append({"role": role, "content": _content(message, where)})
        else:
            call_id, _ = calls.answered(message, where)
            items.append(
                {"type": "function_call_output", "call_id": call_id, "output": _content(message, where)}
            )
    return items


def _said(message: Mapping[str, Any], where: str, calls: Calls) -> list[Item]:
    text = text_of(message, where, "OpenAI's Responses API")
    said: list[Item] = [{"role": "assistant", "content": text}] if text else []
    return said + [_call(call) for call in calls.read(message, where)]


def _call(call: Call) -> Item:
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": _arguments(call)}


def _arguments(call: Call) -> str:
    if isinstance(call.arguments, str):
        return call.arguments
    try:
        return orjson.dumps(call.arguments or {}).decode()
    except TypeError:
        raise unsupported(
            f"{call.where}.tool_calls: the arguments of {call.name!r} have no JSON form"
        ) from None


def _content(message: Mapping[str, Any], where: str) -> str | list[Item]:
    """Text as text, anything else as parts."""
    if isinstance(message.get("content"), str) and not message.get("images"):
        return str(message["content"])
    return [_part(part) for part in parts_of(message, where, "OpenAI's Responses API")] or ""


def _part(part: Text | Image) -> Item:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    image: Item = {"type": "input_image", "image_url": part.url}
    held = part.given.get("image_url")
    if isinstance(held, dict) and held.get("detail") in _DETAILS:
        image["detail"] = held["detail"]
    return image
