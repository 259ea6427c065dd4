"""Limits as the fleet sees them: publishing what the settings say, changing them at run time, reading them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.exceptions import RedisError

from shared.job import Lane
from shared.providers import Provider
from shared.settings import ClientLimitSettings, LimitSettings, Settings
from shared.store import keys
from shared.store.connect import Store
from shared.store.scripts import Arg, translate

EPOCH_S = 1_735_689_600.0
"""2025-01-01: the scripts count scope times in ms since then."""

POLICY = "policy"


class Field(enum.StrEnum):
    """What can be limited."""

    RPM = "rpm"
    TPM = "tpm"
    CONCURRENCY = "concurrency"
    SLICE_MS = "slice_ms"
    WEIGHT = "weight"


def account_scope(account: str) -> str:
    """The scope of everything that goes through one account."""
    return f"account:{account}"


def model_scope(account: str, model: str) -> str:
    """The scope of one model at an account."""
    return f"model:{account}/{model}"


def client_scope(client: str) -> str:
    """The scope of one client, over all providers."""
    return f"client:{client}"


def provider_scope(provider: str) -> str:
    """The scope of one provider's server; it has a breaker and no limits."""
    return f"provider:{provider}"


@dataclass(frozen=True, slots=True)
class ScopeView:
    """One scope at this moment. Times are Unix seconds on Redis's clock."""

    name: str
    file: dict[str, Any]
    """Limits of the settings of the worker that started last."""
    set: dict[str, Any]
    """Limits changed at run time; they go over the file's, 0 = no limit."""
    in_flight: int
    state: dict[str, Any] = field(default_factory=dict)
    """The ledger's state (`lua/lib/ledger.lua`), times in ms since 2025."""

    @property
    def limits(self) -> dict[str, Any]:
        """What is in force, without what was learned."""
        merged = {**self.file, **self.set}
        return {name: value for name, value in merged.items() if value}

    def time_of(self, name: str) -> float | None:
        """A time in the state."""
        value = self.state.get(name)
        return EPOCH_S + value / 1000 if isinstance(value, int | float) else None


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

    async def set(self, scope: str, changes: Mapping[str, float | None]) -> dict[str, Any]:
        """Change limits of a scope; workers follow with their next claim.

        Args:
            scope: See `account_scope`, `model_scope`, `client_scope`.
            changes: Field → value; 0 = no limit, None = back to what the settings say.

        Returns:
            The limits in force.
        """
        queues = await self._queues_of(scope)
        reply = await self._store.run("set_limits", [scope, orjson.dumps(dict(changes)), *queues])
        limits: dict[str, Any] = orjson.loads(reply)
        return limits

    async def _queues_of(self, scope: str) -> list[str]:
        """Queues whose jobs may wait for this scope."""
        accounts = await self.accounts()
        kind, _, name = scope.partition(":")
        account = name if kind == "account" else name.partition("/")[0] if kind == "model" else None
        served = [p for p, a in accounts.items() if account is None or a == account]
        return [f"{provider}.{lane}" for provider in served for lane in Lane]

    async def accounts(self) -> dict[str, str]:
        """Provider → account, of all providers that a worker has served."""
        try:
            raw = await self._store.client.hgetall(keys.ACCOUNTS)
        except RedisError as exc:
            raise translate(exc) from exc
        return {_text(provider): _text(account) for provider, account in raw.items()}

    async def read(self, scopes: Sequence[str] = ()) -> list[ScopeView]:
        """Scopes as they are now: the given ones, or all that have limits.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        client = self._store.client
        try:
            raw = await client.hgetall(keys.LIMITS)
            stated = {_text(name): _object(value) for name, value in raw.items()}
            stated.pop(POLICY, None)
            names = list(scopes) or sorted(stated)
            async with client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.get(keys.scope(name))
                    pipe.scard(keys.slots(name))
                replies = await pipe.execute()
        except RedisError as exc:
            raise translate(exc) from exc
        return [
            ScopeView(
                name,
                file=_table(stated.get(name, {}), "file"),
                set=_table(stated.get(name, {}), "set"),
                in_flight=in_flight,
                state=_object(state),
            )
            for name, state, in_flight in zip(names, replies[::2], replies[1::2], strict=True)
        ]

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


def _object(raw: bytes | str | None) -> dict[str, Any]:
    try:
        value = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _table(value: dict[str, Any], name: str) -> dict[str, Any]:
    table = value.get(name)
    return table if isinstance(table, dict) else {}
