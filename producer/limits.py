"""Limits as an operator handles them: look, change at run time, open by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shared.errors import InvalidRequest
from shared.providers import ProviderRegistry
from shared.store.limits import Field, LimitStore, ScopeView
from shared.store.scopes import account_of, parse_scope, provider_scope, shown_scope


class Limits:
    """The limits of the fleet. Scopes are named as people write them (`shared/store/scopes.py`).

    Args:
        registry: Its providers' accounts are known before a worker has served them.
    """

    def __init__(self, store: LimitStore, registry: ProviderRegistry) -> None:
        self._store = store
        self._registered = {name: provider.account for name, provider in registry.registered.items()}

    async def show(self, names: Sequence[str] = ()) -> list[ScopeView]:
        """Scopes as they are now: the named ones, or all that something is known of.

        Raises:
            ScopeNotFound: No such account.
            StoreUnavailable: No answer from Redis.
        """
        scopes = await self._parse(names) if names else await self._store.known()
        return await self._store.read(scopes)

    async def set(self, name: str, changes: Mapping[Field, float | None]) -> ScopeView:
        """Change limits of one scope for the whole fleet, from the next claim on.

        Args:
            changes: 0 = no limit, None = back to what the settings say.

        Raises:
            ScopeNotFound: No such account.
            InvalidRequest: A provider's server has no limits, and only clients have a weight.
            StoreUnavailable: No answer from Redis; set them again.
        """
        (scope,) = await self._parse([name])
        kind = scope.partition(":")[0]
        if kind == "provider":
            raise InvalidRequest(f"{name}: limits belong to accounts, models and clients", field="scope")
        if Field.WEIGHT in changes and kind != "client":
            raise InvalidRequest(f"{name}: only clients have a weight", field="weight")
        await self._store.set(scope, {field.value: value for field, value in changes.items()})
        (view,) = await self._store.read([scope])
        return view

    async def open(self, name: str) -> list[str]:
        """End cooldowns and breakers, after what was wrong is mended; an account's name stands for all of it.

        Returns:
            The scopes that were closed.

        Raises:
            ScopeNotFound: No such account.
            StoreUnavailable: No answer from Redis; open it again.
        """
        (scope,) = await self._parse([name])
        opened = await self._store.open([scope, *await self._inside(scope)])
        return [shown_scope(one) for one in opened]

    async def _inside(self, scope: str) -> Iterable[str]:
        """What belongs to an account: its providers, and its models as far as something is known of them."""
        kind, _, account = scope.partition(":")
        if kind != "account":
            return []
        accounts = await self._accounts()
        models = [one for one in await self._store.known() if one != scope and account_of(one) == account]
        return [*(provider_scope(p) for p, a in accounts.items() if a == account), *models]

    async def _parse(self, names: Sequence[str]) -> list[str]:
        accounts = await self._accounts()
        return list(dict.fromkeys(parse_scope(name, accounts) for name in names))

    async def _accounts(self) -> dict[str, str]:
        return {**self._registered, **await self._store.accounts()}
