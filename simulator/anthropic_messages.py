"""Anthropic's messages and their content blocks: what they say, and what Anthropic refuses in them.

Source: anthropic PyPI 2.12.0 `types/*_param.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from simulator.digest import content_text
from simulator.refusals import InvalidRequest
from simulator.wire import is_base64

_BLOCK_FIELDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    kind: (frozenset(required.split()), frozenset(optional.split()))
    for kind, required, optional in (
        ("text", "text", "cache_control citations"),
        ("image", "source", "cache_control transformations"),
        ("document", "source", "cache_control citations context title"),
        ("tool_use", "id input name", "cache_control caller toolset_name"),
        ("tool_result", "tool_use_id", "cache_control content is_error toolset_name"),
        ("thinking", "thinking signature", ""),
        ("redacted_thinking", "data", ""),
    )
}
"""By type of content block: the fields it must have, and those it may have beside them."""
_MEDIA_TYPES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")

Json = dict[str, Any]


def messages(data: Json) -> list[Json]:
    """The messages, each with its content as blocks.

    Raises:
        InvalidRequest: A message or block that is none, or a result without its call.
    """
    found = data.get("messages")
    if not isinstance(found, list) or not found:
        raise InvalidRequest("at least one message is required", "messages")
    read = [_message(message, f"messages.{number}") for number, message in enumerate(found)]
    for number, (earlier, later) in enumerate(zip([None, *read], read, strict=False)):
        _check_results(earlier, later, number)
    return read


def texts(data: Json, turns: list[Json]) -> tuple[str, str]:
    """System and prompt texts, as `simulator.digest` says.

    Raises:
        InvalidRequest: `system` is neither text nor blocks of text.
    """
    blocks = _blocks(data.get("system") or [], "system")
    system = [content_text({"content": [block]}) for block in blocks]
    prompt: list[str] = []
    for turn in turns:
        target = system if turn["role"] == "system" else prompt
        target.extend(_turn_texts(turn))
    return "\n\n".join(system), "\n\n".join(prompt)


def count_images(turns: list[Json]) -> int:
    """Images in the messages, those in tools' results included."""
    return sum(block["type"] == "image" for block in _all_blocks(turns))


def is_cacheable(data: Json, turns: list[Json]) -> bool:
    """Whether `cache_control` stands anywhere."""
    holders = [
        data,
        *_blocks(data.get("system") or [], "system"),
        *_all_blocks(turns),
        *(data.get("tools") or []),
    ]
    return any(holder.get("cache_control") is not None for holder in holders)


def _message(message: Any, path: str) -> Json:
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
        raise InvalidRequest("Input should be 'user', 'assistant' or 'system'", f"{path}.role")
    blocks = _blocks(message.get("content"), f"{path}.content")
    if not blocks:
        raise InvalidRequest("messages must have non-empty content", path)
    return {"role": message["role"], "content": blocks}


def _blocks(content: Any, path: str) -> list[Json]:
    """Content as blocks; a text is one block."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise InvalidRequest("Input should be a valid list", path)
    for number, block in enumerate(content):
        _check_block(block, f"{path}.{number}")
    return content


def _check_block(block: Any, path: str) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str) or kind not in _BLOCK_FIELDS:
        raise InvalidRequest(
            f"Input tag {kind!r} found using 'type' does not match any of the expected tags", path
        )
    required, optional = _BLOCK_FIELDS[kind]
    for name in sorted(required - block.keys()):
        raise InvalidRequest("Field required", f"{path}.{kind}.{name}")
    for name in sorted(block.keys() - required - optional - {"type"}):
        raise InvalidRequest("Extra inputs are not permitted", f"{path}.{kind}.{name}")
    match kind:
        case "text":
            if not isinstance(block["text"], str) or not block["text"]:
                raise InvalidRequest("text content blocks must be non-empty", path)
        case "tool_use":
            if not _TOOL_ID.fullmatch(str(block["id"])) or not isinstance(block["input"], dict):
                text = "`id` should match pattern '^[a-zA-Z0-9_-]+$' and `input` should be an object"
                raise InvalidRequest(text, f"{path}.{kind}")
        case "tool_result":
            _blocks(block.get("content") or [], f"{path}.{kind}.content")
        case "image":
            _check_source(block["source"], f"{path}.{kind}.source")


def _check_source(source: Any, path: str) -> None:
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "base64":
        if source.get("media_type") not in _MEDIA_TYPES:
            raise InvalidRequest(
                "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'", path
            )
        if not is_base64(source.get("data")):
            raise InvalidRequest("invalid base64 data", f"{path}.base64.data")
    elif kind not in ("url", "file"):
        raise InvalidRequest("Input should be 'base64', 'url' or 'file'", path)


def _check_results(earlier: Json | None, later: Json, number: int) -> None:
    """Calls and their results stand in neighbouring messages, each with its partner."""
    called = _idents(earlier, "tool_use", "id")
    answered = _idents(later, "tool_result", "tool_use_id")
    for ident in sorted(answered - called):
        raise InvalidRequest(
            f"unexpected `tool_use_id` found in `tool_result` blocks: {ident}. Each `tool_result` block must have "
            "a corresponding `tool_use` block in the previous message.",
            f"messages.{number}",
        )
    for ident in sorted(called - answered):
        raise InvalidRequest(
            f"`tool_use` ids were found without `tool_result` blocks immediately after: {ident}.",
            f"messages.{number - 1}",
        )


def _idents(message: Json | None, kind: str, field: str) -> set[str]:
    blocks = message["content"] if message is not None else []
    return {str(block[field]) for block in blocks if block["type"] == kind}


def _turn_texts(turn: Json) -> list[str]:
    """Each tool's result counts as a message of its own, the other blocks as one."""
    results = [block for block in turn["content"] if block["type"] == "tool_result"]
    others = [block for block in turn["content"] if block["type"] != "tool_result"]
    found = [content_text(result) for result in results]
    return [*found, content_text({"content": others})] if others else found


def _all_blocks(turns: list[Json]) -> Iterator[Json]:
    """All blocks, those within tools' results included."""
    for turn in turns:
        for block in turn["content"]:
            yield block
            if block["type"] == "tool_result" and isinstance(block.get("content"), list):
                yield from block["content"]
