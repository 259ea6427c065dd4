"""An endpoint: one address of a provider, with the headers that every call there has."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import quote

import httpx

from shared.errors import ConfigError
from shared.providers import Provider
from shared.settings.masking import MASK, shown_headers

USER_AGENT = f"chatq/{version('chatq')}"
"""Our own name: some gateways refuse generic library names (docs/provider-wire.md §4, §5)."""

_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "host", "accept-encoding"})
"""Headers that say how the message itself is framed: chatq's to set."""


class Endpoint(NamedTuple):
    """An address of a provider, and the headers that every call there has."""

    url: httpx.URL
    headers: list[tuple[bytes, bytes]]


def endpoint_of(provider: Provider, path: str, *, key_header: str, headers: Mapping[str, str]) -> Endpoint:
    """Where calls to a path go, and with which headers.

    Args:
        provider: Address, key and headers of its own.
        path: Appended to the provider's base URL.
        key_header: Header that carries the key; in `Authorization` it comes after `Bearer `.
        headers: The wire's own; the provider's go over them.

    Raises:
        ConfigError: The key, or a header of the provider, would break the framing of the message.
    """
    url = httpx.URL(provider.base_url + path)
    return Endpoint(url, _standing_headers(provider, url, key_header, headers))


def _standing_headers(
    provider: Provider, url: httpx.URL, key_header: str, wire_headers: Mapping[str, str]
) -> list[tuple[bytes, bytes]]:
    """The headers of every call; the provider's own go over the wire's.

    Raises:
        ConfigError: The key, or a header of the provider, would break the framing of the message.
    """
    named = {
        "host": ("Host", url.netloc.decode()),
        "accept": ("Accept", "application/json"),
        "content-type": ("Content-Type", "application/json"),
        # Answers are small, and a compressed one could unpack to any size.
        "accept-encoding": ("Accept-Encoding", "identity"),
        "user-agent": ("User-Agent", USER_AGENT),
    }
    if provider.key is not None:
        key = provider.key.get_secret_value()
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"the key of {provider.name} ({provider.key_origin}) has characters no key has")
        scheme = "Bearer " if key_header.lower() == "authorization" else ""
        named[key_header.lower()] = (key_header, scheme + key)
    named.update((name.lower(), (name, value)) for name, value in wire_headers.items())
    for name, value in provider.headers.items():
        if name.lower() in _FRAMING:
            raise ConfigError(f"providers.{provider.name}.headers: {name} is set by chatq; take it out")
        named[name.lower()] = (name, value)
    return [(name.encode(), value.encode()) for name, value in named.values()]


def secrets_of(provider: Provider) -> list[bytes]:
    """What must never show up in an error: the key, and header values whose name speaks of one."""
    shown = shown_headers(provider.headers)
    secrets = [value for name, value in provider.headers.items() if shown[name] == MASK]
    if provider.key is not None:
        secrets.append(provider.key.get_secret_value())
    return [secret.encode() for secret in secrets if secret]


def header_value(value: str) -> bytes:
    """A header value; what HTTP does not allow there is percent-encoded rather than failing the job."""
    if value.isascii() and value.isprintable():
        return value.encode()
    return quote(value, safe=" !#$&'()*+,/:;=?@[]~").encode()
