"""Limits as the fleet sees them: publishing what the settings say, changing them at run time, reading them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import RedisError

from shared.job import Lane
from shared.providers import Provider
from shared.settings import ClientLimitSettings, LimitSettings, Settings
from shared.store import keys
from shared.store.connect import Store
from shared.store.pipe import Arg
from shared.store.scopes import (
    account_of,
    account_scope,
    client_scope,
    model_scope,
    provider_scope,
    shown_scope,
)
from shared.store.scripts import translate
from shared.store.waiting import Hold, read_hold, read_number, read_object

EPOCH_S = 1_735_689_600.0
"""2025-01-01: the scripts count scope times in ms since then."""

POLICY = "policy"

SCOPES_A_CALL = 100
"""Scopes read in one script: about 2 ms of Redis."""

MAX_HELD_LOTS = 200
"""Held lots looked at, a queue."""


class Field(enum.StrEnum):
    """What can be limited."""

    RPM = "rpm"
    TPM = "tpm"
    CONCURRENCY = "concurrency"
    SLICE_MS = "slice_ms"
    WEIGHT = "weight"


@dataclass(frozen=True, slots=True)
class ScopeView:
    """One scope at this moment. Times are Unix seconds on Redis's clock."""

    name: str
    """As people write it (`scopes.py`)."""
    file: dict[str, Any]
    """Limits of the settings of the worker that started last."""
    set: dict[str, Any]
    """Limits changed at run time; they go over the file's, 0 = no limit."""
    in_force: dict[str, float]
    """`rpm`, `tpm` and `concurrency` as they count now, with what was learned; absent = no limit."""
    learned: dict[str, float]
    """What answers said or showed of limits: `stated_rpm`, `stated_tpm`, `stated_concurrency`, `adaptive` (calls
    at the same time), `factor` (share of the known rate that is used)."""
    in_flight: int
    """Calls that hold a slot; they are counted where something limits their number."""
    used: dict[str, float]
    """Share of the burst that is not paid off yet, of `rpm` and `tpm`; from 1 on the limit is reached."""
    closed_until: float | None
    """End of a cooldown."""
    breaker: str | None
    """`open`, `half` (a few calls try), `ramp1` to `ramp3`; None = closed, which is the good state."""
    opened_why: str | None
    """`failures`, `credentials` or `quota`."""
    open_until: float | None
    hold: Hold | None
    """What lets no call through just now."""

    @property
    def is_closed(self) -> bool:
        """Whether a cooldown or a breaker is at work."""
        return self.closed_until is not None or self.breaker is not None


_LEARNED = ("stated_rpm", "stated_tpm", "stated_concurrency", "adaptive", "factor")


class LimitStore:
    """Access to limits. All calls are safe to repeat."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def publish(self, providers: Mapping[str, Provider], settings: Settings) -> None:
        """Tell the fleet what these settings say of the providers served and of clients; run-time changes stay.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        args: list[Arg] = [orjson.dumps(_policy(settings)), len(providers)]
        scopes: dict[str, dict[str, Any]] = {}
        for name, provider in providers.items():
            args += (name, provider.account)
            scopes[account_scope(provider.account)] = _stated(provider.limits)
            for model, spec in provider.models.items():
                scopes[model_scope(provider.account, model)] = _stated(spec.limits)
        for client, tenant in settings.clients.items():
            scopes[client_scope(client)] = {**_stated(tenant.limits), "weight": tenant.weight}
        for scope, limits in scopes.items():
            if limits.keys() - {"slice_ms", "charge"}:
                args += (scope, orjson.dumps(limits))
        await self._store.run("configure_limits", args)

    async def are_published(self, providers: Iterable[str]) -> bool:
        """Whether Redis still has what was published of these; a flush, or a failover, may take it away.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        try:
            async with self._store.client.pipeline(transaction=False) as pipe:
                pipe.hexists(keys.LIMITS, POLICY)
                pipe.hmget(keys.ACCOUNTS, list(providers))
                has_policy, accounts = await pipe.execute()
            return bool(has_policy) and None not in accounts
        except RedisError as exc:
            raise translate(exc) from exc

    async def set(self, scope: str, changes: Mapping[str, float | None]) -> dict[str, Any]:
        """Change limits of a scope; workers follow with their next claim.

        Args:
            scope: See `scopes.py`.
            changes: Field → value; 0 = no limit, None = back to what the settings say.

        Returns:
            The limits in force.

        Raises:
            StoreUnavailable: No answer from Redis; set them again.
        """
        queues = _queues_of([scope], await self.accounts())
        reply = await self._store.run("set_limits", [scope, orjson.dumps(dict(changes)), *queues])
        limits: dict[str, Any] = orjson.loads(reply)
        return limits

    async def open(self, scopes: Sequence[str]) -> list[str]:
        """End cooldowns and breakers by hand. Returns those of the scopes that were closed.

        Raises:
            StoreUnavailable: No answer from Redis; open them again.
        """
        queues = _queues_of(scopes, await self.accounts())
        were_closed = await self._store.run("open_scopes", [len(scopes), *scopes, *queues])
        return [scope for scope, was_closed in zip(scopes, were_closed, strict=True) if was_closed]

    async def accounts(self) -> dict[str, str]:
        """Provider → account, of all providers that a worker has served."""
        try:
            raw = await self._store.client.hgetall(keys.ACCOUNTS)
        except RedisError as exc:
            raise translate(exc) from exc
        return {_text(provider): _text(account) for provider, account in raw.items()}

    async def known(self) -> list[str]:
        """Scopes that something is known of: with limits, with calls, of an account, or held back.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        client, accounts = self._store.client, await self.accounts()
        queues = [f"{provider}.{lane}" for provider in accounts for lane in Lane]
        try:
            async with client.pipeline(transaction=False) as pipe:
                pipe.hkeys(keys.LIMITS)
                pipe.smembers(keys.SLOTTED)
                pipe.zrange(keys.CLOSED, 0, -1)
                for queue in queues:
                    pipe.zrange(keys.later(queue), 0, MAX_HELD_LOTS - 1)
                stated, slotted, closed, *held = await pipe.execute()
        except RedisError as exc:
            raise translate(exc) from exc
        found = {_text(name) for name in (*stated, *slotted, *closed)} - {POLICY}
        found = {name for name in found if not name.startswith("probe:")}
        found |= {account_scope(account) for account in accounts.values()}
        found |= {provider_scope(provider) for provider in accounts}
        for queue, lots in zip(queues, held, strict=True):
            found |= set(_models_of_lots(accounts[queue.rpartition(".")[0]], lots))
        return sorted(found)

    async def read(self, scopes: Sequence[str]) -> list[ScopeView]:
        """Scopes as they are now, in the order given.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        views: list[ScopeView] = []
        for start in range(0, len(scopes), SCOPES_A_CALL):
            names = scopes[start : start + SCOPES_A_CALL]
            now_ms, *words = await self._store.run("read_scopes", list(names))
            views += [
                _view(name, now_ms / 1000, read_object(limits), read_object(state), read_object(now))
                for name, (limits, state, now) in zip(
                    names, zip(*(iter(words),) * 3, strict=True), strict=True
                )
            ]
        return views

    async def sweep(self) -> int:
        """Free slots that no living grant holds; returns how many.

        Raises:
            StoreUnavailable: No answer from Redis; the rest waits for the next sweep.
        """
        try:
            scopes = {_text(name) for name in await self._store.client.smembers(keys.SLOTTED)}
        except RedisError as exc:
            raise translate(exc) from exc
        freed = 0
        for scope in sorted(scopes):
            cursor = b"0"
            while True:
                cursor, count = await self._store.run("sweep_slots", [scope, cursor])
                freed += count
                if cursor == b"0":
                    break
        return freed


def _policy(settings: Settings) -> dict[str, Any]:
    breaker = settings.breaker
    return {
        "failure_ratio": breaker.failure_ratio,
        "min_calls": breaker.min_calls,
        "window_ms": round(breaker.window_s * 1000),
        "open_ms": round(breaker.open_s * 1000),
        "max_open_ms": round(breaker.max_open_s * 1000),
        "credential_open_ms": round(breaker.credential_open_s * 1000),
        "probes": breaker.probes,
        "failover_after_ms": round(settings.routing.failover_after_s * 1000),
    }


def _stated(limits: ClientLimitSettings) -> dict[str, Any]:
    """The limits that are stated, as the scripts read them; how they are counted only with one of them."""
    stated: dict[str, Any] = {
        name: value for name in ("rpm", "tpm", "concurrency") if (value := getattr(limits, name)) is not None
    }
    stated["slice_ms"] = round(limits.slice_s * 1000)
    if isinstance(limits, LimitSettings):
        stated["charge"] = limits.charge
    return stated


def _text(raw: bytes | str) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw


def _table(value: dict[str, Any], name: str) -> dict[str, Any]:
    table = value.get(name)
    return table if isinstance(table, dict) else {}


def _queues_of(scopes: Iterable[str], accounts: Mapping[str, str]) -> list[str]:
    """Queues whose jobs may wait for one of these scopes."""
    wanted: set[str] = set()
    for scope in scopes:
        kind, _, name = scope.partition(":")
        if kind == "client":
            wanted |= accounts.keys()
        elif kind == "provider":
            wanted.add(name)
        else:
            wanted |= {p for p, account in accounts.items() if account == account_of(scope)}
    return [f"{provider}.{lane}" for provider in sorted(wanted) for lane in Lane]


def _models_of_lots(account: str, lots: Iterable[bytes | str]) -> Iterable[str]:
    """The models of lots that are held back (`lua/lib/lots.lua`)."""
    for lot in lots:
        _, _, label = _text(lot).partition("\n")
        yield model_scope(account, label.removeprefix(">"))


def _view(
    name: str, now: float, limits: dict[str, Any], state: dict[str, Any], found: dict[str, Any]
) -> ScopeView:
    numbers = {key: number for key in found if (number := read_number(found[key])) is not None}
    used = {"rpm": numbers.get("requests_used"), "tpm": numbers.get("tokens_used")}

    def later(field: str) -> float | None:
        value = read_number(state.get(field))
        at = EPOCH_S + value / 1000 if value is not None else 0.0
        return at if at > now else None

    def word(field: str) -> str | None:
        value = state.get(field)
        return value if isinstance(value, str) else None

    return ScopeView(
        name=shown_scope(name),
        file=_table(limits, "file"),
        set=_table(limits, "set"),
        in_force={key: numbers[key] for key in ("rpm", "tpm", "concurrency") if key in numbers},
        learned={key: value for key in _LEARNED if (value := read_number(state.get(key))) is not None},
        in_flight=round(numbers.get("in_flight", 0)),
        used={key: value for key, value in used.items() if value is not None},
        closed_until=later("closed_until"),
        breaker=word("breaker"),
        opened_why=word("opened_why"),
        open_until=later("open_until"),
        hold=read_hold(found.get("hold")),
    )
