"""Output items while they are streamed: what was said of each so far, and the events that say the rest.

Events are made here without their numbers; `events.py` numbers them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from producer.responses.output import (
    call_item,
    message_item,
    reasoning_item,
    reasoning_part,
    refusal_part,
    text_part,
)

Event = dict[str, Any]
Item = Mapping[str, Any]

_MAKE_PART = {"output_text": text_part, "refusal": refusal_part, "reasoning_text": reasoning_part}
_TEXT_FIELD = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text"}
"""By the kind of a part: how it is made, and under which name its text stands."""


class OpenItem(Protocol):
    """An item of the output on its way."""

    id: str
    output_index: int

    def close(self, final: Item | None) -> Iterator[Event]:
        """Say what is left of it, and that it is done; nothing if that was said.

        Args:
            final: As it stands in the response that has ended; None = not there, or not known yet.
        """
        ...


class _Part:
    """A part of an item, whose text comes in pieces."""

    def __init__(self, item: OpenItem, kind: str, content_index: int) -> None:
        self.kind = kind
        self._pieces: list[str] = []  # joined when they are needed: adding to one text copies it each time
        self._place = {
            "item_id": item.id,
            "output_index": item.output_index,
            "content_index": content_index,
        }
        self._logprobs: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}

    def open(self) -> Iterator[Event]:
        yield {"type": "response.content_part.added", **self._place, "part": self.now()}

    def add(self, text: str) -> Iterator[Event]:
        self._pieces.append(text)
        yield {"type": f"response.{self.kind}.delta", **self._place, "delta": text, **self._logprobs}

    def close(self, final: Item | None) -> Iterator[Event]:
        whole = final or self.now()
        text = whole[_TEXT_FIELD[self.kind]]
        if rest := _rest(text, "".join(self._pieces)):
            yield from self.add(rest)
        said = {name: whole[name] for name in (_TEXT_FIELD[self.kind], *self._logprobs)}
        yield {"type": f"response.{self.kind}.done", **self._place, **said}
        yield {"type": "response.content_part.done", **self._place, "part": whole}

    def now(self) -> dict[str, Any]:
        return _MAKE_PART[self.kind]("".join(self._pieces))


class _ItemOfParts(ABC):
    """What a reasoning item and a message have in common."""

    def __init__(self, item_id: str, output_index: int) -> None:
        self.id = item_id
        self.output_index = output_index
        self._parts: list[_Part] = []
        self._is_done = False

    @abstractmethod
    def _now(self, status: str) -> dict[str, Any]: ...

    def _said(self) -> list[dict[str, Any]]:
        return [part.now() for part in self._parts]

    def _part(self, kind: str) -> Iterator[Event]:
        """Have a part of this kind, and the item around it; an item has one of each at most."""
        if not self._parts:
            yield _item_event("added", self.output_index, self._now("in_progress"))
        if all(part.kind != kind for part in self._parts):
            part = _Part(self, kind, len(self._parts))
            self._parts.append(part)
            yield from part.open()

    def _add(self, kind: str, text: str) -> Iterator[Event]:
        yield from self._part(kind)
        part = next(part for part in self._parts if part.kind == kind)
        yield from part.add(text)

    def close(self, final: Item | None) -> Iterator[Event]:
        """See `OpenItem.close`."""
        if self._is_done:
            return
        self._is_done = True
        whole = {part["type"]: part for part in (final or {}).get("content") or ()}
        for kind in whole:
            yield from self._part(kind)
        for part in self._parts:
            yield from part.close(whole.get(part.kind))
        yield _item_event("done", self.output_index, final or self._now("completed"))


class OpenReasoning(_ItemOfParts):
    """What the model thinks."""

    def add(self, text: str) -> Iterator[Event]:
        """Take a piece."""
        return self._add("reasoning_text", text)

    def _now(self, status: str) -> dict[str, Any]:
        return {**reasoning_item(self.id, ""), "content": self._said()}


class OpenMessage(_ItemOfParts):
    """What the model says."""

    def add(self, kind: str, text: str) -> Iterator[Event]:
        """Take a piece of an `output_text` or a `refusal`."""
        return self._add(kind, text)

    def _now(self, status: str) -> dict[str, Any]:
        return message_item(self.id, self._said(), status)


class OpenCall:
    """A function call; its id and name come first, its arguments in pieces."""

    def __init__(self, item_id: str, output_index: int, call_id: str, name: str) -> None:
        self.id = item_id
        self.output_index = output_index
        self._call_id, self._name = call_id, name
        self._pieces: list[str] = []
        self._is_open = False

    def add(self, arguments: str) -> Iterator[Event]:
        """Take a piece of the arguments; the first one, empty or not, shows the call."""
        if not self._is_open:
            self._is_open = True
            yield _item_event("added", self.output_index, self._now("in_progress"))
        if arguments:
            self._pieces.append(arguments)
            yield self._event("delta", delta=arguments)

    def close(self, final: Item | None) -> Iterator[Event]:
        """See `OpenItem.close`."""
        whole = final or self._now("completed")
        yield from self.add(_rest(whole["arguments"], "".join(self._pieces)))
        yield self._event("done", arguments=whole["arguments"], name=self._name)
        yield _item_event("done", self.output_index, whole)

    def _now(self, status: str) -> dict[str, Any]:
        return call_item(self.id, self._call_id, self._name, "".join(self._pieces), status)

    def _event(self, step: str, **fields: Any) -> Event:
        place = {"item_id": self.id, "output_index": self.output_index}
        return {"type": f"response.function_call_arguments.{step}", **place, **fields}


class _Whole:
    """An item that has no pieces: a provider's own, as its hosted tools and sealed thoughts are."""

    def __init__(self, item_id: str, output_index: int) -> None:
        self.id = item_id
        self.output_index = output_index

    def close(self, final: Item | None) -> Iterator[Event]:
        """See `OpenItem.close`."""
        if final is not None:
            yield _item_event("added", self.output_index, final)
            yield _item_event("done", self.output_index, final)


def unstreamed(item: Item, output_index: int) -> OpenItem:
    """An item of the final response, nothing of which was streamed."""
    match item:
        case {"type": "reasoning", "summary": []} if _has_plain_parts(item):
            return OpenReasoning(item["id"], output_index)
        case {"type": "message"} if _has_plain_parts(item):
            return OpenMessage(item["id"], output_index)
        case {"type": "function_call", "call_id": str(call_id), "name": str(name), "arguments": str()}:
            return OpenCall(item["id"], output_index, call_id, name)
        case _:
            return _Whole(item["id"], output_index)


def _has_plain_parts(item: Item) -> bool:
    """Whether an item has one part of each kind at most, as chatq makes them."""
    parts = item.get("content")
    kinds = [_kind(part) for part in parts] if isinstance(parts, list) else [""]
    return len({*kinds}) == len(kinds) and _MAKE_PART.keys() >= {*kinds}


def _kind(part: Any) -> str:
    match part:
        case {"type": "output_text", "text": str(), "logprobs": list()}:
            return "output_text"
        case {"type": "refusal", "refusal": str()} | {"type": "reasoning_text", "text": str()}:
            return str(part["type"])
        case _:
            return ""


def _rest(whole: str, streamed: str) -> str:
    """What is still to be said; nothing where the final text is another one: then it stands in the last events."""
    return whole.removeprefix(streamed) if whole.startswith(streamed) else ""


def _item_event(step: str, output_index: int, item: Item) -> Event:
    return {"type": f"response.output_item.{step}", "output_index": output_index, "item": item}
