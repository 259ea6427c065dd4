"""Reading telemetry: the stream of events (`worker/events.py` writes them), and the counters of each minute.

Anybody can write to Redis: an event that cannot be read is left out and counted, and costs nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.exceptions import RedisError

from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.replies import replies_of
from shared.store.scripts import translate

PAGE = 1000
"""Entries read at once: about 1 MB."""

MAX_EVENT_BYTES = 65_536
"""Longer ones are not ours."""

COUNTER_MINUTES = 180
"""How long the scripts keep the counters of a minute (`lua/lib/base.lua`)."""

NEWEST = "+"

_OF_BOTH = (
    "queue", "lane", "client", "source", "requested_model", "provider", "model", "error", "error_class",
    "queue_wait_s", "input_total", "input_cached", "input_cache_write", "output_total", "reasoning", "cost_usd",
    "cost_source",
)  # fmt: skip
"""What an outcome leaves to the call in the same entry to say."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, with the time at which Redis took it.

    Attributes:
        at: Unix seconds.
        kind: `attempt` or `outcome`.
        fields: As written; untrusted, so look at each field's type.
    """

    at: float
    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries of the stream, in the order they were asked for.

    Attributes:
        entries: How many; each has one or two events.
        broken: Events that could not be read.
        first_id, last_id: Ids of the first and the last entry.
    """

    events: list[Event]
    entries: int
    broken: int
    first_id: str
    last_id: str


class EventLog:
    """The stream of events."""

    def __init__(self, store: Store) -> None:
        self._client = store.client

    async def newest_first(self, *, most: int, since: float = 0.0) -> AsyncIterator[Page]:
        """Pages from the newest entry back.

        Args:
            most: Entries in all.
            since: Unix seconds; older entries are left out.

        Raises:
            StoreError: No answer from Redis.
        """
        upper, least = NEWEST, str(max(0, int(since * 1000)))
        while most > 0:
            page = await self._read(upper, least, min(PAGE, most), is_backwards=True)
            if page is None:
                return
            yield page
            most -= page.entries
            upper = f"({page.last_id}"

    async def after(self, entry_id: str) -> AsyncIterator[Page]:
        """Pages of what came after an entry, as far as there is something now; `0` = from the start.

        Raises:
            StoreError: No answer from Redis.
        """
        while (page := await self._read(f"({entry_id}", NEWEST, PAGE, is_backwards=False)) is not None:
            yield page
            entry_id = page.last_id

    async def _read(self, first: str, last: str, count: int, *, is_backwards: bool) -> Page | None:
        """A page, or None when there is nothing."""
        read = self._client.xrevrange if is_backwards else self._client.xrange
        try:
            entries: Any = await read(keys.EVENTS, first, last, count=count)
        except RedisError as exc:
            raise translate(exc) from exc
        if not entries:
            return None
        events: list[Event] = []
        broken = 0
        for entry_id, entry in entries:
            found = read_entry(entry_id.decode(), entry, is_backwards=is_backwards)
            broken += found.count(None)
            events += [event for event in found if event is not None]
        return Page(events, len(entries), broken, entries[0][0].decode(), entries[-1][0].decode())


def read_entry(entry_id: str, entry: dict[bytes, bytes], *, is_backwards: bool = False) -> list[Event | None]:
    """The events of an entry, a call before the outcome it brought; None for one that cannot be read."""
    at = int(entry_id.partition("-")[0]) / 1000
    attempt = _event(at, "attempt", entry[b"attempt"]) if b"attempt" in entry else None
    outcome = _event(at, "outcome", entry[b"outcome"]) if b"outcome" in entry else None
    if attempt and outcome and attempt.fields["job"] == outcome.fields["job"]:
        said = {name: attempt.fields[name] for name in _OF_BOTH if name in attempt.fields}
        outcome = Event(at, "outcome", {**said, **outcome.fields})
    found = [event for name, event in ((b"attempt", attempt), (b"outcome", outcome)) if name in entry]
    if not found:
        return [None]
    return found[::-1] if is_backwards else found


def _event(at: float, kind: str, raw: bytes) -> Event | None:
    try:
        fields = orjson.loads(raw) if len(raw) <= MAX_EVENT_BYTES else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict) or fields.get("type") != kind or not isinstance(fields.get("job"), str):
        return None
    return Event(at, kind, fields)


@dataclass
class Counters:
    """What the scripts counted over some minutes, of all jobs and calls; it needs no stream.

    Attributes:
        ended: By state, jobs.
        limited: By provider, calls turned away by a rate limit.
        waits: By provider and reason, jobs that were sent back to wait.
        moved: By provider left and provider gone to, jobs.
        abandoned: By provider, jobs whose worker died.
        calls: By provider and how they ended (`ok`, or the class of the error), calls.
        tokens: By provider and direction (`input`, `output`), of answers.
        cost: By provider and kind: `micro_usd` as stated, `unknown` calls that may be billed.
    """

    ended: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    limited: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    waits: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    moved: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    abandoned: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    calls: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    tokens: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    cost: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, name: str, count: int) -> None:
        """Add one field of a minute's hash; names of others' making are passed over."""
        match name.split(" "):
            case ["ended", _, state]:
                self.ended[state] += count
            case ["limited", provider]:
                self.limited[provider] += count
            case ["waits", provider, reason]:
                self.waits[provider, reason] += count
            case ["moved", left, gone_to]:
                self.moved[left, gone_to] += count
            case ["abandoned", provider]:
                self.abandoned[provider] += count
            case ["calls", provider, ended]:
                self.calls[provider, ended] += count
            case ["tokens", provider, direction]:
                self.tokens[provider, direction] += count
            case ["cost", provider, kind]:
                self.cost[provider, kind] += count


async def read_now(store: Store) -> float:
    """Redis's time, Unix seconds.

    Raises:
        StoreError: No answer from Redis.
    """
    try:
        seconds, microseconds = await store.client.time()
    except RedisError as exc:
        raise translate(exc) from exc
    return seconds + microseconds / 1e6


async def read_counters(store: Store, *, minutes: int) -> Counters:
    """The counters of the newest minutes by Redis's clock: this one, and so many whole ones before it.

    Raises:
        StoreError: No answer from Redis.
    """
    counters = Counters()
    newest = int(await read_now(store) / 60)
    async with store.client.pipeline(transaction=False) as pipe:
        for ago in range(min(minutes, COUNTER_MINUTES) + 1):
            pipe.hgetall(keys.minute(newest - ago))
        replies = await replies_of(pipe)
    for reply in replies:
        for name, value in reply.items() if isinstance(reply, dict) else ():
            counters.add(name.decode(errors="replace"), rq_layout.parse_int(value) or 0)
    return counters
