"""Names of scopes: as people write them, and in Redis."""

from __future__ import annotations

import pytest

from shared.errors import InvalidRequest
from shared.store.scopes import ScopeNotFound, account_of, parse_scope, shown_scope

ACCOUNTS = {"openrouter": "openrouter", "eu": "vendor", "us": "vendor"}


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("openrouter", "account:openrouter"),
        ("vendor", "account:vendor"),
        ("eu", "account:vendor"),
        ("openrouter/a/b", "model:openrouter/a/b"),
        ("us/m:cloud", "model:vendor/m:cloud"),
        ("client:alice", "client:alice"),
        ("provider:eu", "provider:eu"),
    ],
)
def test_people_name_scopes(text: str, scope: str) -> None:
    """A provider stands for its account; a model may be any."""
    assert parse_scope(text, ACCOUNTS) == scope


@pytest.mark.parametrize(
    "text", ["", "nobody", "nobody/m", "openrouter/", "provider:vendor", "model:openrouter/m"]
)
def test_unknown_scope_names_the_known(text: str) -> None:
    """So that nobody sets limits that never count."""
    with pytest.raises(ScopeNotFound, match=r"openrouter, vendor"):
        parse_scope(text, ACCOUNTS)


def test_client_must_be_a_label() -> None:
    """As at submit."""
    with pytest.raises(InvalidRequest, match="client"):
        parse_scope("client:a\nb", ACCOUNTS)


@pytest.mark.parametrize("text", ["openrouter", "openrouter/a/b", "client:alice", "provider:eu"])
def test_shown_as_written(text: str) -> None:
    assert shown_scope(parse_scope(text, ACCOUNTS)) == text


def test_account_of_a_scope() -> None:
    """Clients and providers have none."""
    scopes = ("account:a", "model:a/b/c", "client:a", "provider:a")
    assert [account_of(scope) for scope in scopes] == ["a", "a", None, None]
