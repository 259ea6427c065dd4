"""A ChatCompletion's first choice as the output items of a Response (docs/openai-wire.md §8.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from producer.responses.ids import item_id

OutputItem = dict[str, Any]

STOPPED_SHORT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""`finish_reason` of an answer that is not complete, and why, in the Response's words."""


def reasoning_id(response_id: str) -> str:
    """Of the item with what the model thought; a response has one."""
    return item_id("rs", response_id)


def message_id(response_id: str) -> str:
    """Of the item with what the model said; a response has one."""
    return item_id("msg", response_id)


def call_item_id(response_id: str, call_id: str) -> str:
    """Of the item with one function call."""
    return item_id("fc", response_id, call_id)


def first_choice(completion: Mapping[str, Any]) -> Mapping[str, Any]:
    """The choice that is answered with; a Response has no others."""
    match completion.get("choices"):
        case [dict(choice), *_]:
            return choice
        case _:
            return {}


def output_items(choice: Mapping[str, Any], response_id: str) -> list[OutputItem]:
    """Reasoning, then what was said, then calls: in the order in which models write them."""
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    status = "incomplete" if choice.get("finish_reason") in STOPPED_SHORT else "completed"
    thought = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    calls = list(_calls(message.get("tool_calls"), response_id, status))
    parts = _parts(message, choice.get("logprobs"))
    items = [reasoning_item(reasoning_id(response_id), thought)] if thought else []
    if parts or not calls:
        items.append(message_item(message_id(response_id), parts or [text_part("")], status))
    return [*items, *calls]


def reasoning_item(item_id: str, thought: str) -> OutputItem:
    """What the model thought, as it wrote it."""
    content = [reasoning_part(thought)] if thought else []
    return {"id": item_id, "type": "reasoning", "summary": [], "content": content}


def message_item(item_id: str, parts: list[dict[str, Any]], status: str) -> OutputItem:
    """What the model said."""
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": parts,
    }


def call_item(item_id: str, call_id: str, name: str, arguments: str, status: str) -> OutputItem:
    """A function that the caller is asked to call."""
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def reasoning_part(text: str) -> dict[str, Any]:
    """Text of a reasoning item."""
    return {"type": "reasoning_text", "text": text}


def text_part(text: str) -> dict[str, Any]:
    """Text of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> dict[str, Any]:
    """Text of a message that says no."""
    return {"type": "refusal", "refusal": text}


def unique(call_id: str, taken: set[str]) -> str:
    """An id that no other call of the response has, and is taken now: some servers number no further than one."""
    number, chosen = 1, call_id
    while chosen in taken:
        number += 1
        chosen = f"{call_id}_{number}"
    taken.add(chosen)
    return chosen


def _parts(message: Mapping[str, Any], logprobs: Any) -> list[dict[str, Any]]:
    parts = []
    if said := _said(message.get("content")):
        annotations = list(_annotations(message.get("annotations")))
        parts.append({**text_part(said), "annotations": annotations, "logprobs": _logprobs(logprobs)})
    if refused := _text(message.get("refusal")):
        parts.append(refusal_part(refused))
    return parts


def _said(content: Any) -> str:
    """The text of a content, which a few servers send in parts."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return _text(content)


def _calls(calls: Any, response_id: str, status: str) -> Iterator[OutputItem]:
    taken: set[str] = set()
    for number, call in enumerate(calls if isinstance(calls, list) else ()):
        match call:
            case {"function": {"name": str(name)} as function}:
                stated = _text(call.get("id")) or item_id("call", response_id, str(number))
                arguments = function.get("arguments")
                written = arguments if isinstance(arguments, str) else orjson.dumps(arguments or {}).decode()
                call_id = unique(stated, taken)
                yield call_item(call_item_id(response_id, call_id), call_id, name, written, status)


def _annotations(annotations: Any) -> Iterator[dict[str, Any]]:
    """Citations of the web, the only kind that chat has."""
    for annotation in annotations if isinstance(annotations, list) else ():
        match annotation:
            case {"type": "url_citation", "url_citation": {"url": str(url)} as cited}:
                yield {
                    "type": "url_citation",
                    "url": url,
                    "title": _text(cited.get("title")),
                    "start_index": _index(cited.get("start_index")),
                    "end_index": _index(cited.get("end_index")),
                }


def _logprobs(logprobs: Any) -> list[dict[str, Any]]:
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    found = []
    for token in tokens if isinstance(tokens, list) else ():
        if (known := _token(token)) is not None:
            others = token.get("top_logprobs")
            tops = [_token(one) for one in others] if isinstance(others, list) else []
            found.append({**known, "top_logprobs": [top for top in tops if top is not None]})
    return found


def _token(token: Any) -> dict[str, Any] | None:
    match token:
        case {"token": str(text), "logprob": int() | float() as logprob}:
            return {"token": text, "logprob": logprob, "bytes": list(text.encode(errors="replace"))}
        case _:
            return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _index(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
