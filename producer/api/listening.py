"""Where the API listens: an address, whether others reach it, and its sockets."""

from __future__ import annotations

import ipaddress
import socket

from shared.errors import ConfigError
from shared.settings import Settings
from shared.store.tokens import TokenStore

BACKLOG = 2048
"""Connections that may wait for being accepted."""


def split_bind(bind: str) -> tuple[str, int]:
    """Host and port of an address such as `127.0.0.1:3220` or `[::1]:3220`."""
    host, _, port = bind.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(bind: str) -> bool:
    """Whether only this machine reaches an address; a name does not say so, except `localhost`."""
    host, _ = split_bind(bind)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def check_bind(settings: Settings, tokens: TokenStore) -> None:
    """See that nobody else reaches the API without a token.

    Raises:
        ConfigError: Others reach the address, and there is no token.
        StoreError: No answer from Redis.
    """
    bind = settings.api.bind
    if is_loopback(bind) or settings.auth.token.get_secret_value() or await tokens.exist():
        return
    raise ConfigError(
        f"api.bind: {bind} is open to other machines, and there is no token: set [auth] token, make one with "
        "`chatq tokens create`, or bind to 127.0.0.1"
    )


def open_sockets(bind: str, count: int) -> list[socket.socket]:
    """Listening sockets on one address, between which the kernel spreads connections; port 0 = a free one.

    They outlive a process that serves one of them: what connects meanwhile waits.

    Raises:
        ConfigError: The address cannot be listened at.
    """
    host, port = split_bind(bind)
    opened: list[socket.socket] = []
    try:
        family, _, _, _, _ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if count == 1:
            return [_listen(family, host, port)]
        if port:
            # One that does not share comes first: sharing with another server of this user would go unnoticed.
            _listen(family, host, port).close()
        for _ in range(count):
            opened.append(_listen(family, host, port, is_shared=True))
            port = opened[0].getsockname()[1]
    except OSError as exc:
        for one in opened:
            one.close()
        raise ConfigError(f"api.bind: cannot listen at {bind}: {exc.strerror or exc}") from exc
    return opened


def _listen(family: int, host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=is_shared)
    # For the connections, which inherit it: an answer is two writes, and the second one would wait for the client's
    # delayed acknowledgement of the first, 40 ms. uvloop does it by itself, asyncio's own loop does not.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket) -> str:
    """The address of a listening socket, as in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
