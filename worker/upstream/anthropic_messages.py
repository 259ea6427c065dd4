"""A conversation in Anthropic's words: messages of blocks, the system text apart (docs/provider-wire.md §13)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from worker.upstream.parts import Image, Text, parts_of, unsupported
from worker.upstream.tools import Call, Calls

THOUGHTS = ("thinking", "redacted_thinking")
"""Types of the blocks that hold thoughts."""

_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})

_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
"""Ids of other vendors' calls (`functions.add:0`) hold characters that are a 400 here."""

Block = dict[str, Any]


class Conversation(NamedTuple):
    """The messages of a request, translated.

    Attributes:
        system: Blocks of the system text.
        messages: In turns of user and assistant; content is always a list of blocks.
        tool_names: The tools that were called in it.
    """

    system: list[Block]
    messages: list[dict[str, Any]]
    tool_names: list[str]


def conversation(messages: Sequence[Mapping[str, Any]], *, keeps_thoughts: bool) -> Conversation:
    """The messages in Anthropic's words.

    System messages come together wherever they stand. Neighbours of one role become one message, the results
    of tools first, because they must follow their calls at once. Blank text is left out: it is a 400.

    Args:
        messages: Of the request.
        keeps_thoughts: Thoughts that stand in the history (`thinking_blocks`) go back.

    Raises:
        CandidateUnfit: A message holds what Anthropic cannot take, or there is nothing in them.
    """
    calls = Calls()
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for position, message in enumerate(messages):
        where, role = f"messages.{position}", message["role"]
        if role in ("system", "developer"):
            system += _system(message, where)
            continue
        if role == "assistant":
            blocks = _said(message, where, calls, keeps_thoughts=keeps_thoughts)
        elif role == "user":
            blocks = _blocks(message, where)
        else:
            role, blocks = "user", [_result(message, where, calls)]
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns:  # instructions alone are a request too, but not one that Anthropic answers
        turns, system = [{"role": "user", "content": system}], []
    if not turns[0]["content"]:
        raise unsupported("messages: there is no text in them")
    return Conversation(system, [_results_first(turn) for turn in turns], calls.tool_names)


def _results_first(turn: dict[str, Any]) -> dict[str, Any]:
    return {**turn, "content": sorted(turn["content"], key=lambda block: block["type"] != "tool_result")}


def _system(message: Mapping[str, Any], where: str) -> list[Block]:
    blocks = _blocks(message, where)
    if any(block["type"] != "text" for block in blocks):
        raise unsupported(f"{where}: Anthropic takes no images in {message['role']!r} messages")
    return blocks


def _blocks(message: Mapping[str, Any], where: str) -> list[Block]:
    blocks: list[Block] = []
    for part in parts_of(message, where, "Anthropic"):
        if isinstance(part, Text):
            if not part.text.strip():
                continue
            block: Block = {"type": "text", "text": part.text}
        else:
            block = _image(part, where)
        blocks.append(with_cache_control(block, part.given))
    return blocks


def with_cache_control(block: Block, given: Mapping[str, Any]) -> Block:
    """The block with the mark that ends a cached prefix, if the request set one there."""
    if isinstance(given.get("cache_control"), dict):
        block["cache_control"] = given["cache_control"]
    return block


def _image(image: Image, where: str) -> Block:
    if image.data is None:
        if not image.url.startswith("https://"):
            raise unsupported(
                f"{where}: Anthropic loads images from https addresses only ({image.url[:60]!r})"
            )
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    if image.media_type not in _IMAGE_TYPES:
        raise unsupported(f"{where}: Anthropic takes JPEG, PNG, GIF and WebP, not {image.media_type!r}")
    source = {"type": "base64", "media_type": image.media_type, "data": image.data}
    return {"type": "image", "source": source}


def _said(message: Mapping[str, Any], where: str, calls: Calls, *, keeps_thoughts: bool) -> list[Block]:
    """What the assistant said, in the order in which it says it: thoughts, text, calls."""
    thoughts = message.get("thinking_blocks") if keeps_thoughts else None
    kept = [thought for thought in thoughts if _is_thought(thought)] if isinstance(thoughts, list) else []
    return [*kept, *_blocks(message, where), *(_call(call) for call in calls.read(message, where))]


def _is_thought(block: Any) -> bool:
    match block:
        case {"type": "thinking", "thinking": str(), "signature": str(signature)}:
            return signature != ""
        case {"type": "redacted_thinking", "data": str()}:
            return True
        case _:
            return False


def _call(call: Call) -> Block:
    return {"type": "tool_use", "id": _wire_id(call.id), "name": call.name, "input": call.arguments_object()}


def _result(message: Mapping[str, Any], where: str, calls: Calls) -> Block:
    call_id, _ = calls.answered(message, where)
    result: Block = {"type": "tool_result", "tool_use_id": _wire_id(call_id)}
    content = _blocks(message, where)
    if content:
        result["content"] = content
    return with_cache_control(result, message)


def _wire_id(call_id: str) -> str:
    return _NOT_IN_IDS.sub("_", call_id)
