"""The state of the whole system at one moment: queues, providers, workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from shared.job import Lane
from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.replies import replies_of
from shared.store.scripts import translate
from shared.store.waiting import Hold, read_hold, read_number, read_object
from shared.store.workers import WorkerView, read_workers

LANES = frozenset(lane.value for lane in Lane)

QUEUES_A_CALL = 30
"""Queues looked at in one script: about 2 ms of Redis."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue: a provider's lane."""

    name: str
    provider: str
    lane: str
    waiting: int
    """Ready to be sent, those set aside for their model's or client's limits included."""
    in_flight: int
    scheduled: int
    """Waiting out a backoff."""
    finished: int
    failed: int
    set_aside: int
    """Those of the waiting that stand in lots (`lua/lib/lots.lua`)."""
    oldest_age_s: float | None
    """Age of the oldest waiting job, on Redis's clock; None for an empty queue."""
    drained_per_s: float | None
    """Jobs that it ends a second; None when it ended none lately."""
    eta_s: float | None
    """Until what waits now is done at this pace; None when that is not known."""


@dataclass(frozen=True, slots=True)
class ProviderView:
    """One provider, as far as jobs wait for it."""

    name: str
    account: str
    quarantine: int
    """Suspects waiting: jobs whose workers died twice or more."""
    holds: list[Hold]
    """What lets no call through just now: the provider, its account, models and clients of waiting jobs."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The state of the whole system at one moment."""

    queues: list[QueueView]
    workers: list[WorkerView]
    is_suspended: bool
    totals: dict[str, int]
    """Since the store was created: accepted, completed, failed, cancelled, expired, rescued, backoff …"""
    providers: list[ProviderView]


async def read_status(store: Store) -> QueueStatus:
    """Read all queues and workers; the cost grows with their number, not with the jobs.

    Raises:
        StoreUnavailable: No answer from Redis.
    """
    async with store.client.pipeline(transaction=False) as pipe:
        pipe.smembers(keys.QUEUES)
        pipe.smembers(keys.WORKERS)
        pipe.exists(keys.SUSPENDED)
        pipe.hgetall(keys.TOTALS)
        queue_keys, worker_keys, suspended, totals = [
            reply if not isinstance(reply, RedisError) else {} for reply in await replies_of(pipe)
        ]
    names = sorted(_text(key).removeprefix("rq:queue:") for key in queue_keys)
    try:
        workers = await read_workers(store, sorted(worker_keys))
        sizes = await _read_sizes(store, names)
    except RedisError as exc:
        raise translate(exc) from exc
    paces, providers = await _read_paces(store, names)
    return QueueStatus(
        queues=[_queue(name, sizes[name], paces.get(name)) for name in names],
        workers=workers,
        is_suspended=bool(suspended),
        totals={
            _text(name): count
            for name, value in totals.items()
            if (count := rq_layout.parse_int(value)) is not None
        },
        providers=[_provider(name, found) for name, found in sorted(providers.items())],
    )


async def _read_sizes(store: Store, names: Sequence[str]) -> dict[str, list[int]]:
    """Listed, in flight, scheduled, finished, failed, set aside; 0 where the key is of another type."""
    async with store.client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.llen(keys.queue(name))
            pipe.zcard(keys.started(name))
            pipe.zcard(keys.scheduled(name))
            pipe.zcard(keys.finished(name))
            pipe.zcard(keys.failed(name))
            pipe.get(keys.aside(name))
        replies = [_count(reply) for reply in await replies_of(pipe)]
    return {name: replies[6 * n : 6 * n + 6] for n, name in enumerate(names)}


def _count(reply: Any) -> int:
    return reply if isinstance(reply, int) else max(0, _parsed(reply))


def _parsed(reply: Any) -> int:
    return (rq_layout.parse_int(reply) or 0) if isinstance(reply, bytes) else 0


async def _read_paces(store: Store, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `read_queues` says of queues and of providers."""
    queues: dict[str, Any] = {}
    providers: dict[str, Any] = {}
    for start in range(0, len(names), QUEUES_A_CALL):
        found = read_object(await store.run("read_queues", list(names[start : start + QUEUES_A_CALL])))
        queues |= found.get("queues") or {}
        for name, provider in (found.get("providers") or {}).items():
            known = providers.setdefault(name, provider)
            known["holds"] = _merged(known.get("holds"), provider.get("holds"))
    return queues, providers


def _merged(some: list[Any] | None, more: list[Any] | None) -> list[Any]:
    """Holds without repetition: a provider's queues may be read by two calls."""
    return list({hold["scope"]: hold for hold in (some or []) + (more or [])}.values())


def _queue(name: str, sizes: Sequence[int], pace: Any) -> QueueView:
    listed, in_flight, scheduled, finished, failed, aside = sizes
    pace = pace if isinstance(pace, dict) else {}
    age_ms = read_number(pace.get("oldest_age_ms"))
    per_s = read_number(pace.get("per_s"))
    backlog = listed + aside + scheduled
    provider, _, lane = name.rpartition(".")
    return QueueView(
        name=name,
        provider=provider or name,
        lane=lane if lane in LANES else "",
        waiting=listed + aside,
        in_flight=in_flight,
        scheduled=scheduled,
        finished=finished,
        failed=failed,
        set_aside=aside,
        oldest_age_s=age_ms / 1000 if age_ms is not None and listed + aside else None,
        drained_per_s=per_s,
        eta_s=backlog / per_s if backlog and per_s else None,
    )


def _provider(name: str, found: dict[str, Any]) -> ProviderView:
    holds = [hold for value in found["holds"] if (hold := read_hold(value)) is not None]
    return ProviderView(name, str(found.get("account", name)), round(found.get("quarantine", 0)), holds)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
