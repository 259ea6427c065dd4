"""Scopes: what limits are counted for, under their names in Redis and under those that people write.

| people write | Redis | is |
| --- | --- | --- |
| `openrouter` | `account:openrouter` | everything that goes through one account |
| `openrouter/gpt-x` | `model:openrouter/gpt-x` | one model of it |
| `client:alice` | `client:alice` | one client, over all providers |
| `provider:openrouter` | `provider:openrouter` | one provider's server; it has a breaker and no limits |
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.errors import ChatqError
from shared.labels import check_label


class ScopeNotFound(ChatqError):
    """No account or provider of this name is known; the message names those that are."""

    code = "scope_not_found"
    exit_code = 4


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


def parse_scope(text: str, accounts: Mapping[str, str]) -> str:
    """The scope that people mean.

    Args:
        text: An account, or a provider, which stands for its account; `<account>/<model>`; `client:<id>`;
            `provider:<name>`.
        accounts: Provider → account, of all that are known.

    Raises:
        ScopeNotFound: There is no such account or provider.
        InvalidRequest: It is no client's id.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind == "client":
        return client_scope(check_label(rest, field="client"))
    if colon and kind == "provider" and rest in accounts:
        return provider_scope(rest)
    name, slash, model = text.partition("/")
    account = name if name in accounts.values() else accounts.get(name)
    if account is None or (slash and not model):
        known = ", ".join(sorted(set(accounts.values()))) or "none"
        raise ScopeNotFound(
            f"no limits are kept for {text!r}: write an account ({known}), ACCOUNT/MODEL or client:ID"
        )
    return model_scope(account, model) if slash else account_scope(account)


def shown_scope(scope: str) -> str:
    """A scope as people write it."""
    kind, _, name = scope.partition(":")
    return name if kind in ("account", "model") else scope


def account_of(scope: str) -> str | None:
    """The account that a scope belongs to; None for clients and providers."""
    kind, _, name = scope.partition(":")
    if kind == "model":
        return name.partition("/")[0]
    return name if kind == "account" else None
