"""Targets: which addresses a webhook may be sent to.

Clients choose the address, and the process that calls it stands inside the operator's network: without rules it
would call the operator's databases, metadata services and consoles for them. A URL is looked at twice: as text when
it is handed in, and at each call by the address that its name leads to then, which is the one that is connected to.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

from shared.errors import InvalidRequest
from shared.settings import WebhookSettings

MAX_URL = 2048
"""Longest URL, in characters: what every server and proxy takes."""

FIELD = "webhook_url"

_CLOSED_V4 = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' NAT; a metadata service at 100.100.100.200
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's inner service, in the public range
            "169.254.0.0/16",  # link-local; metadata services at 169.254.169.254
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # relays to 6to4
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
"""IANA's special-purpose blocks (RFC 6890's registry); `ipaddress.is_global` differs between Python's releases."""

_OPEN_V6 = ip_network("2000::/3")
"""What IANA has given out as unicast; loopback, local, mapped and multicast addresses lie outside."""

_CLOSED_V6 = tuple(
    map(
        ip_network,
        (
            "2001::/23",  # protocols, Teredo's tunnels among them
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address inside
            "3fff::/20",
        ),
    )
)

_NAT64 = ip_network("64:ff9b::/96")
"""How a network without IPv4 writes the IPv4 addresses of others: the address inside counts."""


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet; an IPv4 address inside an IPv6 one counts as that.

    Args:
        address: Of IPv4 or IPv6 as text; anything else is not public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        inner = parsed.ipv4_mapped or (IPv4Address(int(parsed) & 0xFFFFFFFF) if parsed in _NAT64 else None)
        if inner is None:
            return parsed in _OPEN_V6 and not any(parsed in block for block in _CLOSED_V6)
        parsed = inner
    return not any(parsed in block for block in _CLOSED_V4)


def check_webhook_url(url: Any, settings: WebhookSettings) -> str:
    """See that webhooks can be sent to a URL, as far as its text tells; returns it.

    Raises:
        InvalidRequest: It is no URL that can be called, it leads into a private network, or there are no webhooks
            because no secret is set to sign them with.
    """
    if not settings.secret.get_secret_value():
        raise _refused(
            "webhooks are switched off here: the operator sets a secret to sign them, [webhooks] secret"
        )
    parts = parse_target(url)
    if not settings.allow_private and _is_private_host(parts.hostname or ""):
        raise _refused("must not lead to a loopback, private, link-local or otherwise special address")
    return str(url)


def parse_target(url: Any) -> SplitResult:
    """The parts of a URL that can be called.

    Raises:
        InvalidRequest: It is none, or has a user or password in it.
    """
    if not isinstance(url, str) or len(url) > MAX_URL or not re.fullmatch(r"[!-~]+", url):
        raise _refused(f"must be a URL of at most {MAX_URL:,} ASCII characters without blanks")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("cannot be read as a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or "\\" in url:
        raise _refused("must start with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise _refused("must not have a user or password in it")
    return parts


def _is_private_host(host: str) -> bool:
    """Whether a host is known to be private by its text alone; of other names, only looking them up tells."""
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    if ":" in name:
        return not is_public(name)
    try:
        # Reads what the resolver reads, too: 127.1, 0x7f000001, 017700000001.
        address = socket.inet_ntoa(socket.inet_aton(name))
    except OSError:
        return False
    return not is_public(address)


def _refused(text: str) -> InvalidRequest:
    return InvalidRequest(f"{FIELD}: {text}", field=FIELD)


def host_of(url: str) -> str:
    """The host that a URL names, for counting and the log; empty where it names none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
