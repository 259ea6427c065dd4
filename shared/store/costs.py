"""What calls cost: read off the events, and added up by UTC day for longer than the capped stream keeps them.

The sums of a day are brought up to date from the stream by whoever calls `fold`, at any time and from any number
of processes: a cursor says how far it came, and moves in one transaction with the sums. What is not folded yet
is added when the sums are read. Amounts are decimals, in Redis as text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from redis.exceptions import RedisError, WatchError

from shared.call_costs import OTHERS, CostSums, Whose, read_sums, read_whose, whose
from shared.store import keys
from shared.store.connect import Store
from shared.store.replies import replies_of, reply_of
from shared.store.scripts import translate
from shared.store.telemetry import Event, EventLog, read_entry, read_now

KEPT_DAYS = 35
"""How long the sums of a day are kept: a month, and a few days to look at it."""

MAX_ROWS = 2000
"""Rows of a day that are kept apart, about 0.5 MB; the names come with jobs, so there is no end to them."""

FOLDED_AT_ONCE = 200
"""Entries in one transaction: the loop of a worker that folds is not held up for more than a few ms."""

_GAPS = b"gaps"
_CURSOR = re.compile(rb"\d{1,20}-\d{1,20}")
_SHORTEST, _LONGEST = (
    datetime(2000, 1, 1, tzinfo=UTC).timestamp(),
    datetime(9999, 1, 1, tzinfo=UTC).timestamp(),
)


Rows = defaultdict[Whose, CostSums]


@dataclass(slots=True)
class CostDays:
    """The sums of some days.

    Attributes:
        rows: By day, of days on which there was a call.
        gaps: How often entries may have left the stream before they were added.
        is_folded: Whether sums of days are kept at all.
        last_id: The newest entry of the stream that is in the sums; `0` = none.
    """

    rows: defaultdict[date, Rows] = field(default_factory=lambda: defaultdict(new_rows))
    gaps: int = 0
    is_folded: bool = False
    last_id: str = "0"

    def add_events(self, events: Iterable[Event], *, first: date, last: date) -> None:
        """Add the calls of these days."""
        for event in events:
            day = day_of(event.at)
            if event.kind == "attempt" and day is not None and first <= day <= last:
                self.rows[day][whose(event.fields)].add_call(event.fields)


def new_rows() -> Rows:
    """No rows yet."""
    return defaultdict(CostSums)


def day_of(at: float) -> date | None:
    """The UTC day of Unix seconds; None for a time that nobody can have meant."""
    return datetime.fromtimestamp(at, UTC).date() if _SHORTEST <= at < _LONGEST else None


class CostLog:
    """The costs of the last days."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._client = store.client
        self._events = EventLog(store)

    async def fold(self) -> int:
        """Add what came since the last time to the sums of its days; returns how many entries of the stream.

        Atomic a group: a crash or a lost reply leaves cursor and sums as they belong together. Whoever finds
        another one at it leaves it to that one.

        Raises:
            StoreFull: Redis is at maxmemory; nothing is lost while the stream keeps its entries.
            StoreUnavailable: No answer from Redis; fold again.
        """
        count = 0
        try:
            while added := await self._fold_some():
                count += added
        except WatchError:
            return count
        except RedisError as exc:
            raise translate(exc) from exc
        return count

    async def read(self, first: date, last: date) -> CostDays:
        """The sums of the days from `first` to `last`, with what is not folded yet.

        Raises:
            StoreError: No answer from Redis.
        """
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.get(keys.COST_CURSOR)
            for day in days:
                pipe.hgetall(keys.costs(day.isoformat()))
            cursor, *hashes = await replies_of(pipe)
        found = CostDays(last_id=_cursor(cursor), is_folded=_cursor(cursor) != "0")
        for day, stored in zip(days, hashes, strict=True):
            for name, value in stored.items() if isinstance(stored, dict) else ():
                if name == _GAPS:
                    found.gaps += _stored_count(value)
                elif (row := read_whose(name)) is not None:
                    found.rows[day][row].add(read_sums(value))
        async for page in self._events.after(found.last_id):
            found.add_events(page.events, first=first, last=last)
            found.last_id = page.last_id
        return found

    async def calls_since(self, at: float) -> CostDays:
        """The calls since a moment, in Unix seconds, off the stream alone.

        Raises:
            StoreError: No answer from Redis.
        """
        found = CostDays(last_id=f"{max(0, int(at * 1000) - 1)}-{2**64 - 1}")
        async for page in self._events.after(found.last_id):
            found.add_events(page.events, first=date.min, last=date.max)
            found.last_id = page.last_id
        return found

    async def stream_begins_at(self, *, max_events: int) -> float | None:
        """Since when the stream has every event, in Unix seconds; None = nothing was dropped from it so far.

        Args:
            max_events: How many it keeps at least.

        Raises:
            StoreError: No answer from Redis.
        """
        if await reply_of(self._client.xlen(keys.EVENTS), 0) < max_events:
            return None
        oldest = await reply_of(self._client.xrange(keys.EVENTS, count=1), [])
        return _at(oldest[0][0]) if oldest else None

    async def _fold_some(self) -> int:
        pipe: Any
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(keys.COST_CURSOR)  # whoever changes the sums moves it
            cursor = _cursor(await reply_of(self._client.get(keys.COST_CURSOR), None))
            entries: Any = await self._client.xrange(keys.EVENTS, f"({cursor}", "+", count=FOLDED_AT_ONCE)
            if not entries:
                return 0
            gap = await self._gap(cursor, _at(entries[0][0]))
            new = CostDays()
            today = day_of(await read_now(self._store)) or date.max
            new.add_events(_attempts(entries), first=today - timedelta(days=KEPT_DAYS), last=date.max)
            writes = [(day, await self._with_stored(day, rows)) for day, rows in new.rows.items()]
            pipe.multi()
            for day, values in writes:
                key = keys.costs(day.isoformat())
                pipe.hset(key, mapping=values)
                pipe.expire(key, KEPT_DAYS * 86_400)
            if gap is not None:
                pipe.hincrby(keys.costs(gap.isoformat()), _GAPS, 1)
                pipe.expire(keys.costs(gap.isoformat()), KEPT_DAYS * 86_400)
            pipe.set(keys.COST_CURSOR, entries[-1][0], ex=KEPT_DAYS * 86_400)
            await pipe.execute()
        return len(entries)

    async def _gap(self, cursor: str, next_at: float) -> date | None:
        """The day on which entries may be missing: the last one that was added has left the stream since."""
        if cursor == "0" or await self._client.xrange(keys.EVENTS, cursor, cursor):
            return None
        return day_of(next_at)

    async def _with_stored(self, day: date, rows: Rows) -> dict[bytes, bytes]:
        """A day's new values of its rows that change."""
        key = keys.costs(day.isoformat())
        names = [row.encode() for row in rows]
        stored = await reply_of(self._client.hmget(key, names), [None] * len(names))
        room = MAX_ROWS - int(await reply_of(self._client.hlen(key), 0))
        kept: dict[bytes, CostSums] = {}
        rest = CostSums()
        for name, before, sums in zip(names, stored, rows.values(), strict=True):
            room -= before is None
            if before is None and room < 0:
                rest.add(sums)
            else:
                kept[name] = read_sums(before)
                kept[name].add(sums)
        if rest.calls:
            name = OTHERS.encode()
            rest.add(kept.get(name) or read_sums(await reply_of(self._client.hget(key, name), None)))
            kept[name] = rest
        return {name: sums.encode() for name, sums in kept.items()}


class DaySpend:
    """What each client's calls have cost since midnight UTC, whoever submitted them; follows the stream."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._day: date | None = None
        self._last_id = "0"
        self._spent: defaultdict[str, Decimal] = defaultdict(Decimal)

    async def refresh(self) -> Mapping[str, Decimal]:
        """Look again; returns the dollars that are known to be spent today by Redis's clock, by client.

        One call at a time.

        Raises:
            StoreError: No answer from Redis.
        """
        today = day_of(await read_now(self._store)) or date.max
        if today != self._day:
            found = await CostLog(self._store).read(today, today)
            self._day, self._spent = today, defaultdict(Decimal)
            self._take(found)
        found = CostDays(last_id=self._last_id)
        async for page in EventLog(self._store).after(self._last_id):
            found.add_events(page.events, first=today, last=today)
            found.last_id = page.last_id
        self._take(found)
        return self._spent

    def _take(self, found: CostDays) -> None:
        self._last_id = found.last_id
        for rows in found.rows.values():
            for row, sums in rows.items():
                self._spent[row.client] += sums.cost_usd


class ClientSpend:
    """What one client's calls have cost since midnight UTC."""

    def __init__(self, store: Store, client: str) -> None:
        self._spend = DaySpend(store)
        self._client = client

    async def refresh(self) -> Decimal:
        """Look again; returns the dollars that are known to be spent today, by Redis's clock.

        Raises:
            StoreError: No answer from Redis.
        """
        return (await self._spend.refresh()).get(self._client, Decimal(0))


def _at(entry_id: bytes) -> float:
    return int(entry_id.partition(b"-")[0]) / 1000


def _attempts(entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> Iterator[Event]:
    """The attempts among entries of the stream; how their jobs ended is not looked at."""
    for entry_id, entry in entries:
        if (raw := entry.get(b"attempt")) is not None:
            yield from filter(None, read_entry(entry_id.decode(), {b"attempt": raw}))


def _cursor(raw: Any) -> str:
    """An id of an entry; what is none counts as absent."""
    return raw.decode() if isinstance(raw, bytes) and _CURSOR.fullmatch(raw) else "0"


def _stored_count(raw: bytes) -> int:
    return int(raw) if raw.isdigit() and len(raw) < 16 else 0
