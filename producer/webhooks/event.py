"""Event: what a receiver is told (docs/openai-wire.md §9), and where that is learned."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told of one object that has ended.

    Attributes:
        url: Where; untrusted.
        type: `batch.completed`, `response.failed`, `job.expired` …
        at: When it ended, Unix seconds.
        data: What the event says of it; the same each time, `{"id": …}` at least.
        client: Whose it is.
    """

    url: str
    type: str
    at: float
    data: Mapping[str, Any]
    client: str | None


Describe = Callable[[str], Awaitable[Notice | None]]
"""What is to be told of the object with an id; None if it has gone, goes on, or names no address.

Raises StoreError."""

Describers = Mapping[str, Describe]
"""One for each kind of object, by the word before the colon of its refs: `job`, `batch`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: the same end of the same object gives the same one, byte by byte."""

    id: str
    type: str
    body: bytes


def event_of(ref: str, notice: Notice) -> Event:
    """The event that tells an end."""
    # An object can end twice (a dead letter that is replayed): its ends differ by time.
    seed = f"{ref}\0{notice.type}\0{notice.at:.6f}".encode()
    event_id = f"evt_{hashlib.blake2b(seed, digest_size=16).hexdigest()}"
    body = {
        "id": event_id,
        "object": "event",
        "created_at": int(notice.at),
        "type": notice.type,
        "data": dict(notice.data),
    }
    return Event(event_id, notice.type, orjson.dumps(body))
