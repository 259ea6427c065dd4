"""Accounts: a provider's limits belong to an account, and several entries may draw on one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic_core import PydanticCustomError

from shared.settings.limits import LimitSettings
from shared.settings.provider import ProviderModelSettings, ProviderSettings
from shared.settings.raw import KeyPath, shown_key

Scope = tuple[str, str | None]
"""An account and one of its models, or None for the account as a whole."""


class AccountLimits:
    """The limits of every account, wherever among its entries they are stated."""

    def __init__(self, providers: Mapping[str, ProviderSettings]) -> None:
        """Collect what the entries state; an entry that states nothing follows the others of its account.

        Raises:
            PydanticCustomError: Two entries state different limits for one account, or one model of it.
        """
        self._stated: dict[Scope, LimitSettings] = {}
        places: dict[Scope, KeyPath] = {}
        for scope, path, limits in _statements(providers):
            if self._stated.setdefault(scope, limits) != limits:
                raise _conflict(scope[0], places[scope], path)
            places.setdefault(scope, path)

    def of(self, account: str) -> LimitSettings:
        """The limits of the account as a whole; nothing but defaults where none are stated."""
        return self._stated.get((account, None), LimitSettings())

    def models_of(self, account: str) -> dict[str, ProviderModelSettings]:
        """The models that have limits of their own, by their name at the provider."""
        return {
            model: ProviderModelSettings(limits=limits)
            for (owner, model), limits in self._stated.items()
            if owner == account and model is not None
        }


def _statements(providers: Mapping[str, ProviderSettings]) -> Iterator[tuple[Scope, KeyPath, LimitSettings]]:
    for name, spec in providers.items():
        account = spec.account or name
        tables = {None: spec.limits} | {model: entry.limits for model, entry in spec.models.items()}
        for model, limits in tables.items():
            if limits != LimitSettings():  # a table of defaults states nothing
                inside = ("limits",) if model is None else ("models", model, "limits")
                yield (account, model), ("providers", name, *inside), limits


def _conflict(account: str, first: KeyPath, second: KeyPath) -> PydanticCustomError:
    return PydanticCustomError(
        "different_limits",
        "differs from {first}, but both draw on account {account}; state its limits once, or alike",
        {"first": shown_key(first), "account": repr(account), "path": second},
    )
