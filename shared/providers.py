"""Providers with their keys: which are registered, and why the others are not."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from shared.errors import ProviderNotFound
from shared.key_file import KeyFileError, is_readable_by_others, read_key
from shared.settings import (
    BUILTIN_PROVIDERS,
    AccountLimits,
    LimitSettings,
    ProviderModelSettings,
    ProviderSettings,
    Settings,
    Wire,
    shown_headers,
)
from shared.settings.builtin_models import BUILTIN_MODELS
from shared.settings.builtin_providers import BUILTIN_LIMITS

NO_KEY_NEEDED = "none needed"


@dataclass(frozen=True, slots=True)
class Provider:
    """One registered provider: all that is needed to call it, and to keep to its limits."""

    name: str
    wire: Wire
    base_url: str
    """Without a slash at the end."""
    key: SecretStr | None = None
    key_origin: str = NO_KEY_NEEDED
    """Where the key came from: `env NAME`, `file PATH` or `none needed`; safe to print."""
    key_header: str = ""
    """Header that carries the key; empty: the wire's own."""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 180.0
    connect_timeout_s: float = 10.0
    stream: bool = False
    stall_timeout_s: float = 60.0
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    quirks: tuple[str, ...] = ()
    patterns: Mapping[str, ProviderModelSettings] = field(default_factory=dict)
    """Wires, paths and quirks of its models, by name or pattern."""
    account: str = ""
    """Whose limits it draws on. Never empty: the provider's own name where none is given."""
    limits: LimitSettings = field(default_factory=LimitSettings)
    """What the account is allowed, at whichever of its providers that is stated."""
    models: Mapping[str, ProviderModelSettings] = field(default_factory=dict)
    """The account's models that have limits of their own, by their name at the provider."""

    def __post_init__(self) -> None:
        if not self.account:
            object.__setattr__(self, "account", self.name)

    def entries_of(self, model: str) -> list[ProviderModelSettings]:
        """What is said of a model: from the shortest pattern that fits to the longest, its own name last."""
        lowered = model.lower()
        return [
            self.patterns[pattern]
            for pattern in sorted(self.patterns, key=lambda pattern: (pattern == model, len(pattern)))
            # `[` has no meaning in these patterns: names of models have it.
            if pattern == model or fnmatchcase(lowered, pattern.lower().replace("[", "[[]"))
        ]

    def wire_of(self, model: str) -> Wire:
        """The API on which a model answers, by its name here."""
        return next((entry.wire for entry in reversed(self.entries_of(model)) if entry.wire), self.wire)

    def __repr__(self) -> str:
        return (
            f"Provider({self.name!r}, wire={self.wire!r}, base_url={self.base_url!r}, "
            f"key_origin={self.key_origin!r}, headers={shown_headers(self.headers)})"
        )


class _NoKey(Exception):
    """A provider stays off; the text says what to do about it."""


class ProviderRegistry:
    """The providers that can be called, and the reasons for those that cannot.

    Attributes:
        registered: Callable providers by name, in the order of the settings.
        reasons: For each provider that is configured but off: what to do, in one line.
        warnings: What is wrong with the keys of registered providers, one line each.
    """

    def __init__(
        self,
        registered: Mapping[str, Provider],
        *,
        reasons: Mapping[str, str] | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.registered = dict(registered)
        self.reasons = dict(reasons or {})
        self.warnings = warnings

    @classmethod
    def from_settings(cls, settings: Settings, *, env: Mapping[str, str]) -> ProviderRegistry:
        """Look up every configured provider's key: the environment first, then its key file."""
        registered: dict[str, Provider] = {}
        reasons: dict[str, str] = {}
        warnings: list[str] = []
        account_limits = AccountLimits(settings.providers)
        for name, spec in settings.providers.items():
            if not spec.base_url:
                reasons[name] = f"switched off by an empty base_url: set [providers.{name}] base_url"
                continue
            try:
                key, origin = _find_key(spec, env)
            except _NoKey as exc:
                reasons[name] = str(exc)
                continue
            registered[name] = _provider(name, spec, key, origin, account_limits)
            if origin.startswith("file ") and is_readable_by_others(Path(spec.key_file)):
                warnings.append(f"others than the owner can read {spec.key_file}: chmod 600 {spec.key_file}")
        return cls(registered, reasons=reasons, warnings=tuple(warnings))

    def is_known(self, name: str) -> bool:
        """Whether a provider of this name is configured, registered or not."""
        return name in self.registered or name in self.reasons

    def get(self, name: str) -> Provider:
        """Return a registered provider.

        Raises:
            ProviderNotFound: It is not registered; the message names the variable and the file to set.
        """
        provider = self.registered.get(name)
        if provider is not None:
            return provider
        if name in self.reasons:
            text = f"provider {name!r} is not registered; {self.reasons[name]}"
        else:
            known = ", ".join([*self.registered, *self.reasons])
            text = f"no provider is called {name!r}: add [providers.{name}], or use one of {known}"
        raise ProviderNotFound(text, provider=name)


def _patterns(name: str, spec: ProviderSettings) -> dict[str, ProviderModelSettings]:
    """What the settings say of the entry's models, laid key by key over what is built in."""
    builtin = BUILTIN_MODELS.get(name, {})
    stated = {pattern: entry.model_dump(exclude_unset=True) for pattern, entry in spec.models.items()}
    return {
        pattern: ProviderModelSettings.model_validate(builtin.get(pattern, {}) | stated.get(pattern, {}))
        for pattern in (builtin | stated)
    }


def _limits(spec: ProviderSettings, account: str, account_limits: AccountLimits) -> LimitSettings:
    """What is stated for the account, over what its vendor documents; another address is not that vendor's."""
    limits = account_limits.of(account)
    if spec.base_url != BUILTIN_PROVIDERS.get(account, {}).get("base_url"):
        return limits
    documented = BUILTIN_LIMITS.get(account, {})
    missing = {name: value for name, value in documented.items() if getattr(limits, name) is None}
    return limits.model_copy(update=missing)


def _provider(
    name: str, spec: ProviderSettings, key: str | None, origin: str, account_limits: AccountLimits
) -> Provider:
    account = spec.account or name
    return Provider(
        name=name,
        wire=spec.wire,
        base_url=spec.base_url,
        key=SecretStr(key) if key else None,
        key_origin=origin,
        key_header=spec.key_header,
        headers=spec.headers,
        timeout_s=spec.timeout_s,
        connect_timeout_s=spec.connect_timeout_s,
        stream=spec.stream,
        stall_timeout_s=spec.stall_timeout_s,
        extra_body=spec.extra_body,
        quirks=spec.quirks,
        patterns=_patterns(name, spec),
        account=account,
        limits=_limits(spec, account, account_limits),
        models=account_limits.models_of(account),
    )


def _find_key(spec: ProviderSettings, env: Mapping[str, str]) -> tuple[str | None, str]:
    """Find the key and say where; (None, …) when the provider needs none."""
    if not spec.key_env and not spec.key_file:
        return None, NO_KEY_NEEDED
    names = spec.key_env.split()
    for name in names:
        in_env = env.get(name, "").strip()
        if in_env:
            return _sendable(in_env, f"the key in {name}"), f"env {name}"
    if not spec.key_file:
        raise _NoKey(f"no key: set {' or '.join(names)}")
    return _key_in_file(spec, names or [""]), f"file {spec.key_file}"


def _key_in_file(spec: ProviderSettings, names: list[str]) -> str:
    *others, last = names
    path = Path(spec.key_file)
    for name in others:
        with contextlib.suppress(KeyFileError, FileNotFoundError):
            return _sendable(read_key(path, name), f"the key in {path}")
    try:
        key = read_key(path, last)
    except FileNotFoundError:
        raise _NoKey(_how_to_set(spec)) from None
    except KeyFileError as exc:
        raise _NoKey(f"{spec.key_file} {exc}; {_how_to_set(spec)}") from None
    return _sendable(key, f"the key in {spec.key_file}")


def _how_to_set(spec: ProviderSettings) -> str:
    names = " or ".join(spec.key_env.split())
    if not names:
        return f"no key: put KEY=... into {spec.key_file}"
    return f"no key: set {names}, or put {spec.key_env.split()[0]}=... into {spec.key_file}"


def _sendable(key: str, where: str) -> str:
    """Refuse a key that HTTP cannot carry: it would fail every call, and a line break could add headers."""
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise _NoKey(f"{where} has blanks or characters outside ASCII: check how it was copied")
    return key
