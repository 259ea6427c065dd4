"""Lua scripts: loading, and one call that survives restarts, lost replies and short outages.

Every script is safe to send twice (its header says why), so a call whose reply was lost is simply sent again
until Redis answers or the time for it is over. That is the only retry layer: the client's own is off.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import redis
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from shared.errors import StoreError, StoreFull, StoreUnavailable
from shared.store.assembly import Part, needed, parts_of
from shared.store.pipe import Arg
from shared.store.round_trips import RoundTrips

log = logging.getLogger(__name__)

Call = tuple[str, Sequence[Arg]]
"""A script's name and its ARGV."""

PASSING = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError)
"""Errors that end by themselves: restart, failover, stall."""

_PASSING_WORDS = re.compile(r"\b(READONLY|MISCONF|NOREPLICAS|BUSY|MASTERDOWN|TRYAGAIN|LOADING)\b")
"""The same inside a script: servers below 7.0 report them in the middle of a longer text."""

_SHEBANG = re.compile(r"\A#!lua[^\n]*\n")
_INCLUDE = re.compile(r"\A-- include: ([\w ]+)\n")


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script: its text as sent to this server generation, and the SHA1 Redis knows it by."""

    name: str
    text: str
    sha: str


@cache
def load(name: str, *, with_flags: bool) -> Script:
    """Read `lua/<name>.lua`, and in front of it what it uses of its libraries (see `assembly.py`).

    They are `lib/base.lua`, and those it names (`-- include: …`).

    Args:
        name: File name without suffix.
        with_flags: Keep the `#!lua flags=…` line; servers below 7.0 do not know it.
    """
    folder = files("shared.store") / "lua"
    text = (folder / f"{name}.lua").read_text()
    shebang = _SHEBANG.match(text)
    if shebang is None:
        raise StoreError(f"lua/{name}.lua does not start with #!lua")
    text = text[shebang.end() :]
    include = _INCLUDE.match(text)
    libraries = ["base", *(include[1].split() if include else ())]
    parts = [part for library in libraries for part in _library(library)]
    body = "".join(part.text for part in needed(parts, text)) + text
    return make(name, (shebang.group() if with_flags else "") + body)


@cache
def _library(name: str) -> list[Part]:
    return parts_of((files("shared.store") / "lua" / "lib" / f"{name}.lua").read_text())


def make(name: str, text: str) -> Script:
    """A script of this text."""
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def script_names() -> list[str]:
    """All scripts, without their libraries."""
    entries = (files("shared.store") / "lua").iterdir()
    return sorted(entry.name.removesuffix(".lua") for entry in entries if entry.name.endswith(".lua"))


def translate(exc: RedisError) -> StoreError:
    """Redis's exception as ours; the message says what to do."""
    text = str(exc)
    if isinstance(exc, OutOfMemoryError) or "OOM" in text:
        return StoreFull("Redis is at its maxmemory: wait for jobs to drain or raise maxmemory")
    if is_passing(exc):
        what = text or type(exc).__name__
        return StoreUnavailable(f"Redis does not answer ({what}): check the server and CHATQ_REDIS_URL")
    return StoreError(f"Redis refused a command: {text}")


def is_passing(exc: RedisError) -> bool:
    """Whether sending the same call again later may succeed."""
    if isinstance(exc, PASSING):
        return True
    return isinstance(exc, ResponseError) and _PASSING_WORDS.search(str(exc)) is not None


class ScriptRunner:
    """Runs scripts, sending again what got no answer."""

    def __init__(self, send: RoundTrips, *, with_flags: bool, retry_s: float) -> None:
        self._send = send
        self._with_flags = with_flags
        self._retry_s = retry_s

    async def __call__(
        self, name: str, args: Sequence[Arg], *, retry_s: float | None = None, then: Call | None = None
    ) -> Any:
        """Run a script to an answer.

        Args:
            name: The script.
            args: Its ARGV; there are no KEYS (keys follow from ids, and Redis Cluster is not used).
            retry_s: How long to keep trying over passing errors; the runner's default when None.
            then: A script to run right after it, in the same trip: name and ARGV. Of its reply only an error
                matters: it is logged.

        Raises:
            StoreUnavailable: No answer within the time; the call may or may not have been applied.
            StoreFull: Refused over maxmemory; nothing was applied.
            StoreError: Refused for another reason.
        """
        script = load(name, with_flags=self._with_flags)
        give_up_at = time.monotonic() + (self._retry_s if retry_s is None else retry_s)
        pause_s = 0.05
        while True:
            try:
                return await self._run(script, args, then)
            except RedisError as exc:
                error = translate(exc)
                if not isinstance(error, StoreUnavailable) or time.monotonic() + pause_s > give_up_at:
                    raise error from exc
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, 1.0)

    async def _run(self, script: Script, args: Sequence[Arg], then: Call | None) -> Any:
        calls = [(script, args)]
        if then is not None:
            calls.append((load(then[0], with_flags=self._with_flags), then[1]))
        replies = await self._send(*[("EVALSHA", each.sha, 0, *its) for each, its in calls])
        for at, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                # New server, restart, failover or SCRIPT FLUSH. EVAL loads it for the next time.
                replies[at:] = await self._send(*[("EVAL", each.text, 0, *its) for each, its in calls[at:]])
                break
        if isinstance(replies[0], RedisError):
            raise replies[0]
        if isinstance(replies[-1], RedisError):
            log.warning("%s: %s", calls[-1][0].name, replies[-1])
        return replies[0]


def run_once(client: redis.Redis, name: str, args: Sequence[Arg], *, with_flags: bool) -> Any:
    """Run a script once on a synchronous client (the heartbeat's thread).

    Raises:
        StoreError: See `translate`.
    """
    script = load(name, with_flags=with_flags)
    try:
        try:
            return client.evalsha(script.sha, 0, *args)
        except NoScriptError:
            return client.eval(script.text, 0, *args)
    except RedisError as exc:
        raise translate(exc) from exc
