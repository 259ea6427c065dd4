"""The state of the fleet at one moment, as numbers: what waits, what runs, what limits and breakers say.

The cost grows with the number of queues and scopes, never with the jobs. Nothing in Redis is trusted: what
cannot be read counts as absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shared.job import Lane
from shared.providers import Provider
from shared.store import keys, rq_layout
from shared.store.connect import Store
from shared.store.limits import EPOCH_S
from shared.store.replies import replies_of
from shared.store.scopes import account_scope, model_scope, provider_scope


@dataclass(frozen=True, slots=True)
class LaneGauges:
    """One queue."""

    provider: str
    lane: str
    waiting: int
    delayed: int
    """Waiting out a backoff."""
    oldest_age_s: float
    """Age of the job that waits in front; 0 when none does."""


@dataclass(frozen=True, slots=True)
class ProviderGauges:
    """All queues of one provider."""

    in_flight: int
    in_quarantine: int


@dataclass(frozen=True, slots=True)
class ScopeGauges:
    """One scope of limits.

    Attributes:
        breaker: 0 closed, 1 letting some calls through, 2 open.
        use: By dimension (requests, tokens, concurrency), the share of the limit that is taken now, 0 to 1.
    """

    name: str
    breaker: int
    use: dict[str, float]


@dataclass(frozen=True, slots=True)
class FleetGauges:
    """What the fleet shows at one moment; `totals` as in `chatq:totals`."""

    lanes: list[LaneGauges]
    providers: dict[str, ProviderGauges]
    scopes: list[ScopeGauges]
    totals: dict[str, int]


async def read_gauges(store: Store, providers: Mapping[str, Provider]) -> FleetGauges:
    """Read what concerns these providers.

    Raises:
        StoreError: No answer from Redis.
    """
    queues = [(name, lane.value) for name in providers for lane in Lane]
    async with store.client.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.TOTALS)
        pipe.hkeys(keys.LIMITS)
        for name, lane in queues:
            queue = f"{name}.{lane}"
            pipe.llen(keys.queue(queue))
            pipe.get(keys.aside(queue))
            pipe.zcard(keys.scheduled(queue))
            pipe.zcard(keys.started(queue))
        for name in providers:
            pipe.llen(keys.quarantine(name))
        totals, limited, *counts = await replies_of(pipe)
    ages = await _oldest_ages(store, [f"{name}.{lane}" for name, lane in queues])
    lanes, in_flight = [], dict.fromkeys(providers, 0)
    numbers = iter(map(_count, counts))
    for name, lane in queues:
        waiting, delayed = next(numbers) + next(numbers), next(numbers)
        lanes.append(
            LaneGauges(name, lane, waiting, delayed, ages.get(f"{name}.{lane}", 0.0) if waiting else 0.0)
        )
        in_flight[name] += next(numbers)
    return FleetGauges(
        lanes,
        {name: ProviderGauges(in_flight[name], next(numbers)) for name in providers},
        await _scopes(store, providers, limited),
        {_text(name): _count(value) for name, value in totals.items()} if isinstance(totals, dict) else {},
    )


async def _oldest_ages(store: Store, queues: list[str]) -> dict[str, float]:
    """By queue, seconds."""
    described = _object(await store.run("read_queues", queues)).get("queues")
    rows = described.items() if isinstance(described, dict) else ()
    return {queue: _number(row, "oldest_age_ms") / 1000 for queue, row in rows if isinstance(row, dict)}


async def _scopes(store: Store, providers: Mapping[str, Provider], limited: Any) -> list[ScopeGauges]:
    """Providers, their accounts, and the models that an operator gave limits of their own.

    A model without such limits has a scope, too; its name comes with a job, so there is no end to them.
    """
    accounts = sorted({provider.account for provider in providers.values()})
    names = [*map(provider_scope, providers), *map(account_scope, accounts)]
    prefixes = tuple(model_scope(account, "") for account in accounts)
    stated = map(_text, limited) if isinstance(limited, list) else ()
    names += sorted(name for name in stated if name.startswith(prefixes))
    now_ms, *found = await store.run("read_scopes", names)
    now_ms -= EPOCH_S * 1000
    return [
        ScopeGauges(name, _breaker(_object(state), now_ms), _use(_object(force)))
        for name, state, force in zip(names, found[1::3], found[2::3], strict=True)
    ]


def _breaker(state: Mapping[str, Any], now_ms: float) -> int:
    """Of a scope's state, with now in ms since 2025."""
    if "breaker" not in state:
        return 0
    return 2 if state["breaker"] == "open" and _number(state, "open_until") > now_ms else 1


def _use(force: Mapping[str, Any]) -> dict[str, float]:
    """Of what is in force now (`lua/read_scopes.lua`)."""
    use = {
        dimension: min(1.0, _number(force, field))
        for dimension, field in (("requests", "requests_used"), ("tokens", "tokens_used"))
        if field in force
    }
    if (most := _number(force, "concurrency")) > 0:
        use["concurrency"] = min(1.0, _number(force, "in_flight") / most)
    return use


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _count(reply: Any) -> int:
    if isinstance(reply, int):
        return reply
    return rq_layout.parse_int(reply if isinstance(reply, bytes) else None) or 0


def _object(raw: Any) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(raw: bytes | str) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw
