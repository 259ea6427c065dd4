"""Input items as the messages of a chat request (docs/openai-wire.md §8.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.errors import InvalidRequest

Item = Mapping[str, Any]
Message = dict[str, Any]

_DETAILS = {"low": "low", "high": "high", "auto": "auto", "original": "high"}
"""Chat's words for how closely an image is looked at; it has none for the full size."""


def chat_messages(items: Sequence[Item], *, known: int = 0) -> list[Message]:
    """The conversation as chat messages; what the model thought is left out, for it is not said in chat.

    Args:
        known: How many items in front belong to earlier responses: errors count from behind them.

    Raises:
        InvalidRequest: An item has no form in chat, or is none; the message names it.
    """
    messages: list[Message] = []
    for position, item in enumerate(items):
        where = f"input.{position - known}"
        kind = item_type(item)
        if kind == "message":
            _add_message(messages, item, where)
        elif kind == "function_call":
            _add_call(messages, item, where)
        elif kind == "function_call_output":
            messages.append(_result(item, where))
        elif kind != "reasoning":
            raise _refused(f"{where}.type", f"items of type {kind[:60]!r} cannot be translated to chat")
    return messages


def item_type(item: Item) -> str:
    """An item's type; one with a role and no type is a message."""
    kind = item.get("type")
    if kind is None and "role" in item:
        return "message"
    return str(kind)


def _add_message(messages: list[Message], item: Item, where: str) -> None:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise _refused(f"{where}.role", "must be one of user, assistant, system, developer")
    content = _content(item.get("content"), f"{where}.content")
    last = messages[-1] if messages else {}
    if role == "assistant" and "tool_calls" in last:
        # What the model said beside its calls is one message in chat, whatever came first.
        last["content"] = content if last["content"] is None else [*_parts(last["content"]), *_parts(content)]
    else:
        messages.append({"role": role, "content": content})


def _add_call(messages: list[Message], item: Item, where: str) -> None:
    call = {
        "id": _text(item, "call_id", where),
        "type": "function",
        "function": {"name": _text(item, "name", where), "arguments": _text(item, "arguments", where)},
    }
    last = messages[-1] if messages else {}
    if (
        last.get("role") == "assistant"
    ):  # calls made at once are one message, and so is what was said with them
        last.setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _result(item: Item, where: str) -> Message:
    return {
        "role": "tool",
        "tool_call_id": _text(item, "call_id", where),
        "content": _content(item.get("output"), f"{where}.output"),
    }


def _content(content: Any, where: str) -> str | list[dict[str, Any]]:
    """Text as text, anything else as parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _refused(where, "must be a text or a list of parts")
    parts = [_part(part, f"{where}.{position}") for position, part in enumerate(content)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _part(part: Any, where: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    translate = _PARTS.get(kind) if isinstance(kind, str) else None
    if translate is None:
        raise _refused(where, f"must be one of {', '.join(_PARTS)}, for chat has no other parts")
    return translate(part, where)


def _text_part(part: Item, where: str) -> dict[str, Any]:
    return {"type": "text", "text": _text(part, "text", where)}


def _refusal_part(part: Item, where: str) -> dict[str, Any]:
    return {"type": "text", "text": _text(part, "refusal", where)}


def _image_part(part: Item, where: str) -> dict[str, Any]:
    if part.get("image_url") is None:
        raise _refused(f"{where}.image_url", "is required: providers see no files of one another (`file_id`)")
    image = {"url": _text(part, "image_url", where)}
    detail = part.get("detail")
    if isinstance(detail, str) and detail in _DETAILS:
        image["detail"] = _DETAILS[detail]
    return {"type": "image_url", "image_url": image}


def _file_part(part: Item, where: str) -> dict[str, Any]:
    if part.get("file_data") is None:
        text = "is required: chat takes files by their content, not by `file_id` or `file_url`"
        raise _refused(f"{where}.file_data", text)
    held = {name: _text(part, name, where) for name in ("file_data", "filename") if part.get(name)}
    return {"type": "file", "file": held}


def _audio_part(part: Item, where: str) -> dict[str, Any]:
    audio = part.get("input_audio")
    if not isinstance(audio, dict):
        raise _refused(f"{where}.input_audio", "must be an object with data and format")
    return {"type": "input_audio", "input_audio": audio}


_PARTS: Mapping[str, Callable[[Item, str], dict[str, Any]]] = {
    "input_text": _text_part,
    "output_text": _text_part,
    "text": _text_part,
    "refusal": _refusal_part,
    "input_image": _image_part,
    "input_file": _file_part,
    "input_audio": _audio_part,
}


def _text(item: Item, name: str, where: str) -> str:
    value = item.get(name)
    if isinstance(value, str):
        return value
    raise _refused(f"{where}.{name}", "must be a text")


def _refused(field: str, text: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {text}", field=field)
