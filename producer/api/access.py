"""Access: who calls, by token and by address.

| configured | what a call needs |
| --- | --- |
| nothing | to come from a program on this machine, no web page; it may do everything, as client `default` |
| `[auth] token`, or tokens in Redis | one of these; else 401 |
| `[auth] allowed_ips` | to come from one of these; else 403 |
| both | both |

Official clients always send some key, so any is borne where none is needed. The static token may do everything, as
client `default`; what the others may do stands in Redis. The address is the connection's: headers in which a proxy
says another one can be written by anybody. Every comparison takes the same time whatever is compared.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from producer.api.errors import forbidden, unauthorized
from producer.api.known_tokens import KnownTokens
from producer.api.listening import is_loopback
from producer.api.principal import Principal, Role
from shared.access_token import AccessToken, looks_like_token
from shared.settings import Settings
from shared.store.tokens import TokenStore

DEFAULT_CLIENT = "default"
"""Whose everything is that was made without a token of its own; the command line's default, too."""

OPERATOR = Principal(DEFAULT_CLIENT, Role.ADMIN)
NOBODY = Principal("", Role.READ)
"""Who calls what everybody may call: it owns nothing."""


class Access:
    """Admits callers."""

    def __init__(self, settings: Settings, tokens: TokenStore) -> None:
        static = settings.auth.token.get_secret_value()
        self._static = _digest(static.encode()) if static else None
        self._networks = [ipaddress.ip_network(text, strict=False) for text in settings.auth.allowed_ips]
        self._needs_token = bool(static) or not is_loopback(settings.api.bind)
        self._tokens = KnownTokens(tokens)

    async def admit(self, headers: Mapping[str, str], address: str, role: Role | None) -> Principal:
        """The caller, if that one may do what `role` does; None = everybody may.

        Args:
            headers: As `call.read_headers`.
            address: Where the call comes from.

        Raises:
            ApiError: 401, a token is missing or wrong; 403, the address or the role is.
            StoreError: No answer from Redis: nobody knows who that is.
        """
        if role is None:
            return NOBODY
        if self._networks and not self._is_allowed(address):
            raise forbidden("this address may not connect", code="address_not_allowed")
        principal = await self._principal(headers)
        if not principal.role.includes(role):
            text = f"this token may {principal.role.value}; {role.value} is needed"
            raise forbidden(text, code="role_not_allowed")
        return principal

    async def _principal(self, headers: Mapping[str, str]) -> Principal:
        given = _bearer(headers)
        if self._static and hmac.compare_digest(_digest(given.encode("latin-1")), self._static):
            return OPERATOR
        if self._needs_token and not looks_like_token(given):
            raise unauthorized()
        answer = await self._tokens.ask(given)
        if answer.token is not None:
            return _principal_of(answer.token)
        if self._needs_token or answer.has_tokens:
            raise unauthorized()
        if not _is_local(headers):
            text = "without a token only programs on this machine may call, and no web pages"
            raise forbidden(text, code="origin_not_allowed")
        return OPERATOR

    def _is_allowed(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain in network for network in self._networks)


def _is_local(headers: Mapping[str, str]) -> bool:
    """Whether this is no web page's call: any page can have a browser here call a local address.

    The browser says the page's `Origin`, and as `Host` the name that it looked up, which may be a stranger's.
    """
    named = (headers.get("origin"), headers.get("host"))
    return all(_is_local_name(name) for name in named if name is not None)


@lru_cache(maxsize=64)  # of up to 64 kB each, as heads go
def _is_local_name(name: str) -> bool:
    """Whether an origin, or a host with its port, is of this machine."""
    try:
        host = urlsplit(name if "//" in name else f"//{name}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _digest(token: bytes) -> bytes:
    """Of equal length whatever the token is: comparing tells nothing of it."""
    return hashlib.sha256(token).digest()


def _principal_of(token: AccessToken) -> Principal:
    lanes = None if token.lanes is None else frozenset(token.lanes)
    return Principal(token.client, token.role, lanes, token.models, token.budget_usd, token.id)
