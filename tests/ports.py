"""Ports for servers that must listen on TCP, at an address that is known before they do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """A TCP port of the loopback interface that a server may listen on as long as this lasts, and nobody else gets.

    A port that merely was free a moment ago may be given to any connection that goes out meanwhile. A socket bound
    to it keeps the kernel from that; servers, which all set SO_REUSEADDR, can bind to it beside that one.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
