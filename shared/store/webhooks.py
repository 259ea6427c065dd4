"""Webhooks in Redis: the outbox of ends that are to be told, and what became of each.

An end is named by its ref: `job:<id>`, also of a response's job, or `batch:<id>`. The script that ends an object
with a webhook puts its ref into the outbox. A deliverer claims refs that are due for the time of a lease, tells
them, and settles; if it dies in between, the next one does the same again (at least once). An end that was told
already is not told again when it is marked again, unless something else has become of the object.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from redis.exceptions import RedisError

from shared.job import Job, JobState
from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.pipe import Arg
from shared.store.reading import read_jobs
from shared.store.replies import replies_of, reply_of
from shared.store.scripts import translate
from shared.store.waiting import read_object

MAX_LOG = 50
"""Calls remembered of one end, the newest: twice as many as the settings allow for one delivery."""

TTL_S = 8 * 86_400
"""How long what is known of an end is kept after its last change: a day longer than failed jobs by default."""

TOLD_TTL_S = 86_400
"""The same once it was told: most are, and nobody asks about them."""

_REF = re.compile(r"(?:job|batch):[A-Za-z0-9_-]{1,200}")


def ref_of(object_id: str) -> str | None:
    """The ref of the end of a job, batch or response; None for what is no id."""
    is_batch = object_id.startswith("batch_")
    ref = f"batch:{object_id}" if is_batch else f"job:{object_id.removeprefix('resp_')}"
    return ref if _REF.fullmatch(ref) else None


class DeliveryState(enum.StrEnum):
    """How telling somebody of an end stands."""

    PENDING = "pending"
    """It is to be told, now or after a delay."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """It was given up."""
    NOTHING = "nothing"
    """There was nothing to tell: the object has gone, goes on, or names no address."""


class Due(NamedTuple):
    """An end that its deliverer has the lease of."""

    ref: str
    token: str
    attempt: int
    """Number of this attempt, from 1."""
    told: str
    """Id of the event that was delivered last; empty = none."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one end that was claimed.

    Attributes:
        delay_s: Until it is due again, if it is pending.
        is_free: The attempt does not count.
        entry: For the log: a JSON object, or None.
        told: Id of the event that was delivered.
        client: Whose object it is.
    """

    due: Due
    state: DeliveryState
    delay_s: float = 0.0
    is_free: bool = False
    entry: dict[str, Any] | None = None
    told: str | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How telling somebody of an end stands, as read. What others wrote there is untrusted.

    Attributes:
        client: Whose object it is; None = not known yet.
        attempts: Calls begun for the present event.
        next_at: When the next call is due, Unix seconds; None = none is, or one is being made.
        log: The calls that ended, oldest first (`producer/webhooks/deliverer.py`).
    """

    ref: str
    state: DeliveryState
    client: str | None
    attempts: int
    next_at: float | None
    log: list[dict[str, Any]]


class EndedJob(NamedTuple):
    """What is told of a job."""

    state: JobState
    ended_at: float
    """Unix seconds on Redis's clock."""
    client: str | None
    url: str


class WebhookOutbox:
    """Access to the outbox. All calls are safe to repeat."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = os.urandom(6).hex()

    async def tell_again(self, ref: str) -> None:
        """Have an end told now, also one that was told or given up before, with all attempts again.

        Args:
            ref: As `ref_of` makes it.

        Raises:
            StoreError: No answer from Redis; ask again.
        """
        try:
            seconds, _ = await self._store.client.time()
            async with self._store.client.pipeline(transaction=True) as pipe:
                pipe.hdel(keys.webhook(ref), "event", "state")
                pipe.zadd(keys.WEBHOOKS_DUE, {ref: seconds * 1000})
                await pipe.execute()
        except RedisError as exc:
            raise translate(exc) from exc

    async def claim(self, most: int, *, token: str, lease_s: float, retry_s: float) -> list[Due]:
        """Take ends that are due; they are this caller's for the time of the lease.

        Args:
            token: A new word for each claim; the same again for one that got no answer.
            retry_s: How long an answer is waited for over passing errors.

        Raises:
            StoreError: No answer from Redis; what was taken comes back after the lease.
        """
        args: list[Arg] = [self._name, token, most, round(lease_s * 1000), TTL_S]
        words = await self._store.run("claim_webhooks", args, retry_s=retry_s)
        return [
            Due(_text(ref), token, rq_layout.parse_int(attempt) or 1, _text(told))
            for ref, attempt, told in zip(*(iter(words),) * 3, strict=True)
        ]

    async def settle(self, settlements: Sequence[Settlement], *, retry_s: float) -> list[bool]:
        """Write down what became of claimed ends; returns for each whether the lease was still this one's.

        Raises:
            StoreError: No answer from Redis; settle them again.
        """
        args: list[Arg] = [MAX_LOG]
        for one in settlements:
            is_open = one.state in (DeliveryState.PENDING, DeliveryState.FAILED)
            fields = {"event": one.told, "client": one.client}
            args += (
                one.due.ref, one.due.token, one.state.value, round(one.delay_s * 1000),
                TTL_S if is_open else TOLD_TTL_S, int(one.is_free),
                b"" if one.entry is None else orjson.dumps(one.entry),
                orjson.dumps({name: value for name, value in fields.items() if value is not None}),
            )  # fmt: skip
        codes = await self._store.run("settle_webhooks", args, retry_s=retry_s)
        return [code == b"settled" for code in codes]

    async def read(self, ref: str) -> Delivery | None:
        """How telling somebody of an end stands; None if it never was in the outbox, or long ago.

        Raises:
            StoreError: No answer from Redis.
        """
        async with self._store.client.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.webhook(ref), "state", "attempts", "client")
            pipe.lrange(keys.webhook_log(ref), -MAX_LOG, -1)
            pipe.zscore(keys.WEBHOOKS_DUE, ref)
            fields, log, due_ms = (
                None if isinstance(reply, RedisError) else reply for reply in await replies_of(pipe)
            )
        state, attempts, client = fields or (None, None, None)
        if state is None and due_ms is None:
            return None
        return Delivery(
            ref,
            _state(state) if due_ms is None else DeliveryState.PENDING,
            _text(client) or None,
            rq_layout.parse_int(attempts) or 0,
            None if due_ms is None else due_ms / 1000,
            [entry for raw in log or () if (entry := read_object(raw))],
        )

    async def waiting(self, most: int) -> list[tuple[str, float]]:
        """Ends that are not told yet, with the time when each is due (Unix seconds), the earliest first.

        Those that a deliverer is at stand first, with the end of its lease.

        Raises:
            StoreError: No answer from Redis.
        """
        found: list[tuple[str, float]] = []
        for key in (keys.WEBHOOK_LEASES, keys.WEBHOOKS_DUE):
            entries = await reply_of(
                self._store.client.zrange(key, 0, most - len(found) - 1, withscores=True), ()
            )
            found += [(_text(ref), score / 1000) for ref, score in entries]
            if len(found) >= most:
                break
        return found

    async def read_job(self, job_id: str) -> EndedJob | None:
        """What is to be told of a job; None if it has gone, goes on, or names no address.

        Raises:
            StoreError: No answer from Redis.
        """
        fields = await reply_of(
            self._store.client.hmget(keys.job(job_id), "status", "cq_state", "ended_at", "cq_info"), None
        )
        status, fine, ended_at, info = fields or (None,) * 4
        state = rq_layout.state_of(status or b"", fine)
        record = read_object(info)
        url, client, at = record.get("webhook"), record.get("client"), rq_layout.parse_date(ended_at)
        if not state.is_terminal or not isinstance(url, str):
            return None
        return EndedJob(state, at or 0.0, client if isinstance(client, str) else None, url)

    async def read_whole_job(self, job_id: str) -> Job | None:
        """The job with its answer; None if it has gone.

        Raises:
            StoreError: No answer from Redis.
        """
        try:
            (job,) = await read_jobs(self._store, [job_id])
        except RedisError as exc:
            raise translate(exc) from exc
        return job


def _state(raw: bytes | None) -> DeliveryState:
    try:
        return DeliveryState(_text(raw))
    except ValueError:
        return DeliveryState.NOTHING  # a word of somebody else's


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
