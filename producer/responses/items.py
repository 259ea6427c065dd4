"""Input items as `input_items` shows them: each with an id, parts instead of plain text, and a status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from producer.responses.ids import item_id
from producer.responses.messages import item_type
from producer.responses.output import text_part

Item = dict[str, Any]

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def shown_items(
    items: Iterable[Mapping[str, Any]], response_id: str, taken: Iterable[str] = ()
) -> list[Item]:
    """The items of one request, in their order; those with an id keep it, unless another has it.

    Args:
        taken: Ids of the items before these.
    """
    known = set(taken)
    shown = []
    for position, item in enumerate(items):
        kind = item_type(item)
        stated = item.get("id")
        if not isinstance(stated, str) or not stated or stated in known:
            stated = item_id(_PREFIXES.get(kind, "item"), response_id, f"input {position}")
        known.add(stated)
        shown.append({**item, "id": stated, "type": kind, **_completed(item, kind)})
    return shown


def _completed(item: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What short forms leave out and readers count on."""
    if kind == "reasoning":
        return {"summary": item.get("summary") or []}
    status = {"status": item.get("status") or "completed"}
    if kind != "message":
        return status
    content = item.get("content")
    parts = content if isinstance(content, list) else [_as_part(str(content or ""), item.get("role"))]
    return {**status, "content": [_completed_part(part) for part in parts]}


def _as_part(text: str, role: Any) -> Item:
    return text_part(text) if role == "assistant" else {"type": "input_text", "text": text}


def _completed_part(part: Any) -> Any:
    match part:
        case {"type": "input_image"}:
            return {"detail": "auto", **part}
        case {"type": "output_text"}:
            return {"annotations": [], **part}
        case _:
            return part
