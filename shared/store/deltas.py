"""Deltas: an answer that is being streamed, written down piece by piece as it comes.

A stream a job (`keys.deltas`), an entry a delta, numbered from 1. What is there is always the answer's beginning,
without a gap: when something cannot be written, nothing after it is. The whole answer stands in the job, as ever.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

import orjson

from shared.background import end_tasks
from shared.errors import StoreError
from shared.store import keys
from shared.store.connect import Store
from shared.store.pipe import Arg
from shared.store.signals import Signals

log = logging.getLogger(__name__)

TTL_S = 3600
"""How long deltas are kept after the last one: for clients that lost their connection. Then the job has it all."""

MAX_BYTES = 4 * 1024 * 1024
"""Most bytes of a job's deltas, as JSON: some 70,000 of a token each, for none is under 50 bytes."""

SLOW_POLL_S = 5.0
"""How long a lost message can delay a follower."""

RETRY_S = 0.5
"""Pause after Redis gave no answer."""

PAGE = 100
"""Deltas read of a job at a time."""

GROUP = 64
"""Jobs a script call."""


class Append(NamedTuple):
    """Deltas of one attempt on their way in.

    Attributes:
        first: The number of the first.
        deltas: JSON each.
    """

    job_id: str
    token: str
    first: int
    deltas: Sequence[bytes]


async def append_deltas(store: Store, appends: Sequence[Append], *, retry_s: float) -> list[bool]:
    """Write deltas down; returns for each attempt whether it may go on to. Safe to send twice.

    Raises:
        StoreUnavailable: No answer within `retry_s` seconds; send the same again.
        StoreFull: Redis is at maxmemory: deltas are not what its rest is for.
    """
    args: list[Arg] = [TTL_S]
    for one in appends:
        args += (one.job_id, one.token, one.first, len(one.deltas), *one.deltas)
    return [code == b"ok" for code in await store.run("append_deltas", args, retry_s=retry_s)]


class Delta(NamedTuple):
    """A piece of an answer.

    Attributes:
        id: Its number, from 1.
        choices: As in OpenAI's streamed chunks: `[{"index", "delta", "finish_reason"}]`.
    """

    id: str
    choices: list[dict[str, Any]]


class _Page(NamedTuple):
    """What one look brought.

    Attributes:
        last: Number of the last delta read.
        is_full: More may be there already.
        is_over: The job has ended.
    """

    deltas: list[Delta]
    last: int
    is_full: bool
    is_over: bool


class _Look(NamedTuple):
    """A follower's wish to be told what comes after a delta."""

    job_id: str
    last: int
    page: asyncio.Future[_Page]


class DeltaReader:
    """Follows any number of streamed answers over one subscription; looks of many followers go together.

    Args:
        channel: Of this process, where it is told of jobs that end; `keys.waiter_channel` of its own if None.
    """

    def __init__(self, store: Store, *, channel: str | None = None) -> None:
        self._store = store
        self._channel = channel or keys.waiter_channel(secrets.token_hex(8))
        self._followers: dict[str, set[asyncio.Event]] = {}
        self._looks: list[_Look] = []
        self._has_looks = asyncio.Event()
        self._signals = Signals(
            store,
            [self._channel, keys.delta_channel(self._channel)],
            on_message=self._told,
            on_gap=self._wake_all,
        )
        self._start_lock = asyncio.Lock()
        self._roles: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Subscribe, once; `follow` does it by itself."""
        async with self._start_lock:
            if not self._roles:
                await self._signals.start()
                self._roles = [
                    asyncio.create_task(self._look_for_all(), name="delta-looks"),
                    asyncio.create_task(self._poll(), name="delta-poll"),
                ]

    async def stop(self) -> None:
        """Unsubscribe; who still follows is told nothing more."""
        await end_tasks(*self._roles)
        await self._signals.stop()  # a start that was given up half-way left it at work

    def is_followed(self, job_id: str) -> bool:
        """Whether anybody in this process follows the job."""
        return job_id in self._followers

    async def follow(self, job_id: str, after: str | None = None) -> AsyncGenerator[Delta, None]:
        """The deltas of a job as they come, to its end; none if it never streamed, or is not known.

        An outage of Redis is sat out.

        Args:
            after: Id of the last delta that is known already; what is no id is none.
        """
        last = int(after) if after and after.isascii() and after.isdigit() and len(after) < 10 else 0
        has_news = asyncio.Event()
        has_news.set()
        self._followers.setdefault(job_id, set()).add(has_news)
        try:
            await self.start()
            is_over = False
            while not is_over:
                await has_news.wait()
                has_news.clear()
                page = await self._look(job_id, last)
                for delta in page.deltas:
                    yield delta
                last = page.last
                if page.is_full:
                    has_news.set()
                is_over = page.is_over and not page.is_full
        finally:
            self._leave(job_id, has_news)

    def _leave(self, job_id: str, has_news: asyncio.Event) -> None:
        followers = self._followers[job_id]
        followers.discard(has_news)
        if not followers:
            del self._followers[job_id]

    async def _look(self, job_id: str, last: int) -> _Page:
        page: asyncio.Future[_Page] = asyncio.get_running_loop().create_future()
        self._looks.append(_Look(job_id, last, page))
        self._has_looks.set()
        return await page

    async def _look_for_all(self) -> None:
        """Looks that come while Redis has the ones before go together."""
        while True:
            await self._has_looks.wait()
            group, self._looks = self._looks[:GROUP], self._looks[GROUP:]
            if not self._looks:
                self._has_looks.clear()
            group = [look for look in group if not look.page.done()]  # who has gone needs none
            if group:
                await self._look_for(group)

    async def _look_for(self, group: Sequence[_Look]) -> None:
        args: list[Arg] = [self._channel, PAGE]
        for look in group:
            args += (look.job_id, look.last + 1)
        while True:
            try:
                replies = await self._store.run("follow_deltas", args)
                break
            except StoreError as exc:
                log.warning("following %d answers waits for Redis: %s", len(group), exc)
                await asyncio.sleep(RETRY_S)
        for look, (is_over, *entries) in zip(group, replies, strict=True):
            if not look.page.done():
                look.page.set_result(_page(look, entries, is_over=bool(is_over)))

    def _told(self, _channel: str, data: bytes) -> None:
        for job_id in data.decode(errors="replace").split():
            for has_news in self._followers.get(job_id, ()):
                has_news.set()

    def _wake_all(self) -> None:
        for followers in self._followers.values():
            for has_news in followers:
                has_news.set()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(SLOW_POLL_S)
            self._wake_all()


def _page(look: _Look, entries: Sequence[bytes], *, is_over: bool) -> _Page:
    numbers = [int(number) for number in entries[::2]]
    deltas = [
        Delta(str(number), choices)
        for number, entry in zip(numbers, entries[1::2], strict=True)
        if (choices := _choices(entry)) is not None
    ]
    return _Page(deltas, max(numbers, default=look.last), len(numbers) >= PAGE, is_over)


def _choices(entry: bytes) -> list[dict[str, Any]] | None:
    """The choices of an entry; None for what no worker writes."""
    if len(entry) > MAX_BYTES:
        return None
    try:
        choices = orjson.loads(entry)
    except orjson.JSONDecodeError:
        return None
    return choices if isinstance(choices, list) and all(map(_is_choice, choices)) else None


def _is_choice(choice: Any) -> bool:
    match choice:
        case {"index": int(), "delta": dict()}:
            return True
    return False
