"""The typed events of a Responses stream, from the Response they add up to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from simulator.answer import pieces
from simulator.events import typed_event

Event = dict[str, Any]


def stream(response: dict[str, Any]) -> list[bytes]:
    """The events in order and numbered; the last one carries the whole Response."""
    return [
        typed_event({**event, "sequence_number": number}) for number, event in enumerate(_events(response))
    ]


def _events(response: dict[str, Any]) -> Iterator[Event]:
    opening = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": opening}
    yield {"type": "response.in_progress", "response": opening}
    for index, item in enumerate(response["output"]):
        place = {"item_id": item["id"], "output_index": index}
        yield {"type": "response.output_item.added", "output_index": index, "item": _empty(item)}
        match item["type"]:
            case "reasoning":
                yield from _summary(item, place)
            case "function_call":
                yield from _arguments(item, place)
            case _:
                yield from _text(item, place)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{response['status']}", "response": response}


def _empty(item: dict[str, Any]) -> dict[str, Any]:
    """An item before anything was generated."""
    match item["type"]:
        case "reasoning":
            return {**item, "summary": []}
        case "function_call":
            return {**item, "status": "in_progress", "arguments": ""}
    return {**item, "status": "in_progress", "content": []}


def _summary(item: dict[str, Any], place: dict[str, Any]) -> Iterator[Event]:
    for number, part in enumerate(item["summary"]):
        at = {**place, "summary_index": number}
        start, text = "response.reasoning_summary", part["text"]
        yield {"type": f"{start}_part.added", **at, "part": {**part, "text": ""}}
        for piece in pieces(text):
            yield {"type": f"{start}_text.delta", **at, "delta": piece}
        yield {"type": f"{start}_text.done", **at, "text": text}
        yield {"type": f"{start}_part.done", **at, "part": part}


def _arguments(item: dict[str, Any], place: dict[str, Any]) -> Iterator[Event]:
    start, arguments = "response.function_call_arguments", item["arguments"]
    for piece in pieces(arguments):
        yield {"type": f"{start}.delta", **place, "delta": piece}
    yield {"type": f"{start}.done", **place, "arguments": arguments}


def _text(item: dict[str, Any], place: dict[str, Any]) -> Iterator[Event]:
    for number, part in enumerate(item["content"]):
        at = {**place, "content_index": number}
        yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **at, "part": part}
