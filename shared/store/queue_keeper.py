"""The background chores on queues: what is due goes back, and what dead workers held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from redis.exceptions import RedisError

from shared.store import keys
from shared.store.connect import Store
from shared.store.pipe import Arg
from shared.store.scripts import translate


class Rescued(NamedTuple):
    """What became of the jobs of dead workers, by id."""

    back: list[str]
    quarantined: list[str]
    failed: list[str]

    @property
    def total(self) -> int:
        """How many there were."""
        return sum(map(len, self))


class QueueKeeper:
    """The background chores on queues: due jobs back, abandoned jobs back. Any worker may do them.

    Args:
        lost_error: The error (JSON) of a job with `max_attempts` 1 whose worker died.
        poison_error: The same for a job that was abandoned in the quarantine.
        broken_error: The same for a job whose worker died while it streamed the answer.
        expired_error: The same for a job whose deadline passed while it waited.
    """

    CHUNK = 100

    def __init__(
        self,
        store: Store,
        *,
        queues: Sequence[str],
        max_attempts: int,
        max_events: int,
        lost_error: bytes,
        poison_error: bytes,
        broken_error: bytes,
        expired_error: bytes,
    ) -> None:
        self._store = store
        self._queues = queues
        self._promote_args: tuple[Arg, ...] = (self.CHUNK, max_events, expired_error)
        self._rescue_args: tuple[Arg, ...] = (
            self.CHUNK, max_attempts, max_events, lost_error, poison_error, broken_error,
        )  # fmt: skip

    async def promote(self) -> float | None:
        """Put due jobs back on their queues, and end waiting ones whose deadline passed.

        Returns:
            Seconds until the next one is due, or None when none waits.
        """
        while True:
            done, next_ms = await self._store.run("promote_jobs", [*self._promote_args, *self._queues])
            if done < self.CHUNK:
                return next_ms / 1000 if next_ms >= 0 else None

    async def rescue(self) -> Rescued:
        """Take back jobs whose lease ran out, at most `CHUNK`."""
        reply = await self._store.run("rescue_jobs", [*self._rescue_args, *self._queues])
        return Rescued(*(ids.decode().split() for ids in reply))

    async def now(self) -> float:
        """Redis's time, Unix seconds."""
        try:
            seconds, microseconds = await self._store.client.time()
        except RedisError as exc:
            raise translate(exc) from exc
        return seconds + microseconds / 1e6

    async def is_empty(self) -> bool:
        """Whether nothing is queued, due or in flight on these queues, by anybody."""
        try:
            async with self._store.client.pipeline(transaction=True) as pipe:
                for name in self._queues:
                    pipe.llen(keys.queue(name))
                    pipe.exists(keys.aside(name))
                    pipe.zcard(keys.scheduled(name))
                    pipe.zcard(keys.started(name))
                for provider in {name.rpartition(".")[0] for name in self._queues}:
                    pipe.llen(keys.quarantine(provider))
                return not any(await pipe.execute())
        except RedisError as exc:
            raise translate(exc) from exc
