"""A response's stream events, made from the deltas of its job (docs/openai-wire.md §8.5).

The same deltas give the same events with the same numbers, whoever makes them and whenever. So nothing has to be
written down for a client that comes back with `starting_after=N`: the events are made again, and the first N+1 are
left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from producer.responses.open_items import OpenCall, OpenItem, OpenMessage, OpenReasoning, unstreamed
from producer.responses.output import call_item_id, message_id, reasoning_id, unique

Event = dict[str, Any]


class ResponseEvents:
    """Makes the events of one response, in three steps: `begin`, `add` for each group of deltas, `end`.

    Args:
        first: The response as it was when nothing had happened yet (`answer.unfinished`).
    """

    def __init__(self, first: Mapping[str, Any]) -> None:
        self._first = first
        self._id = str(first["id"])
        self._next_number = 0
        self._is_in_progress = False
        self._items: list[OpenItem] = []
        self._reasoning: OpenReasoning | None = None
        self._message: OpenMessage | None = None
        self._calls: dict[int, OpenCall | None] = {}
        self._call_ids: set[str] = set()

    @property
    def last_number(self) -> int:
        """Of the last event that was made; -1 before the first."""
        return self._next_number - 1

    def begin(self) -> list[Event]:
        """The events of a response that was accepted; in the background it is queued, else at work at once."""
        if self._first["background"]:
            return [self._state("response.created", "queued"), self._state("response.queued", "queued")]
        return [self._state("response.created", "in_progress"), *self._progress()]

    def add(self, choices: Sequence[Mapping[str, Any]]) -> list[Event]:
        """The events of one delta: choices of OpenAI's chunks. Only the first choice is answered with."""
        events = self._progress()
        for choice in choices:
            delta = choice.get("delta")
            if choice.get("index", 0) == 0 and isinstance(delta, dict):
                events += self._numbered(self._of_delta(delta))
        return events

    def end(self, final: Mapping[str, Any]) -> list[Event]:
        """The last events: what is open is closed, and what was not streamed is said in one piece.

        A cancelled response has none.

        Args:
            final: The response that has ended (`answer.response_object`).
        """
        status = final["status"]
        if status == "cancelled":
            return []
        events = self._progress()
        output = list(final["output"])
        if status in ("completed", "incomplete"):
            events += self._numbered(self._close(output))
            # Items keep the places under which they were streamed, also where a model wrote them in an odd order.
            places = {item.id: item.output_index for item in self._items}
            output.sort(key=lambda item: places[item["id"]])
        return [*events, self._numbered_one(f"response.{status}", response={**final, "output": output})]

    def _progress(self) -> list[Event]:
        if self._is_in_progress:
            return []
        self._is_in_progress = True
        return [self._state("response.in_progress", "in_progress")]

    def _state(self, kind: str, status: str) -> Event:
        return self._numbered_one(kind, response={**self._first, "status": status})

    def _of_delta(self, delta: Mapping[str, Any]) -> Iterator[Event]:
        thought = _text(delta, "reasoning_content") or _text(delta, "reasoning")
        if thought and self._message is None and not self._calls:
            # Later thoughts stand in the final object only: their item is done by then.
            yield from self._open_reasoning().add(thought)
        for kind, name in (("output_text", "content"), ("refusal", "refusal")):
            if said := _text(delta, name):
                yield from self._end_of_thought()
                yield from self._open_message().add(kind, said)
        calls = delta.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                yield from self._end_of_thought()
                yield from self._of_call(call, position)

    def _end_of_thought(self) -> Iterator[Event]:
        """Clients show thoughts as finished when something is said."""
        if self._reasoning is not None:
            yield from self._reasoning.close(None)

    def _open_reasoning(self) -> OpenReasoning:
        if self._reasoning is None:
            self._reasoning = OpenReasoning(reasoning_id(self._id), len(self._items))
            self._items.append(self._reasoning)
        return self._reasoning

    def _open_message(self) -> OpenMessage:
        if self._message is None:
            self._message = OpenMessage(message_id(self._id), len(self._items))
            self._items.append(self._message)
        return self._message

    def _of_call(self, call: Mapping[str, Any], position: int) -> Iterator[Event]:
        stated = call.get("index")
        index = stated if isinstance(stated, int) else position
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        known = self._calls.get(index)
        if known is None and _text(call, "id") and _text(function, "name"):
            call_id = unique(_text(call, "id"), self._call_ids)
            place = call_item_id(self._id, call_id), len(self._items)
            known = OpenCall(*place, call_id, _text(function, "name"))
            self._items.append(known)
        self._calls[index] = known  # None: a call without an id or a name is said in one piece at the end
        if known is not None:
            yield from known.add(_text(function, "arguments"))

    def _close(self, output: Sequence[Mapping[str, Any]]) -> Iterator[Event]:
        """Close the open items, and open and close those that were not streamed."""
        final = {item["id"]: item for item in output}
        for item in self._items:
            yield from item.close(final.pop(item.id, None))
        for rest in final.values():
            item = unstreamed(rest, len(self._items))
            self._items.append(item)
            yield from item.close(rest)

    def _numbered(self, events: Iterator[Event]) -> list[Event]:
        return [self._numbered_one(**event) for event in events]

    def _numbered_one(self, type: str, **fields: Any) -> Event:
        number = self._next_number
        self._next_number += 1
        return {"type": type, "sequence_number": number, **fields}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
