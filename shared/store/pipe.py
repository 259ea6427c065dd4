"""A connection to Redis that redis-py has opened, read without its streams: replies are passed on as they arrive.

redis-py finds the server and greets it (TLS, user, Sentinel). What follows is bytes in both directions; its way of
reading them, a task that is woken and half a dozen calls one inside the other, costs as much as what Redis does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import Connection, ConnectionPool
from redis.exceptions import ConnectionError

Arg = str | bytes | int | float
Command = Sequence[Arg]

_pack = cast(Callable[[tuple[Arg, ...]], bytes], hiredis.pack_command)  # its own type takes one argument


class Pipe(asyncio.Protocol):
    """One connection of a pool. Close it when done.

    Args:
        on_reply: Called with each reply, as Redis sent it: bytes, int, list or None; an error is an exception.
        on_lost: Called when the connection is over, unless it was closed here.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        connection: Connection,
        *,
        on_reply: Callable[[Any], None],
        on_lost: Callable[[ConnectionError], None],
    ) -> None:
        self._pool = pool
        self._connection = connection
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._replies = hiredis.Reader(replyError=connection._parser.parse_error)
        self._transport = cast(asyncio.Transport, cast(asyncio.StreamWriter, connection._writer).transport)
        self._transport.set_protocol(self)

    @classmethod
    async def open(
        cls,
        pool: ConnectionPool,
        *,
        on_reply: Callable[[Any], None],
        on_lost: Callable[[ConnectionError], None],
    ) -> Pipe:
        """Connect.

        Raises:
            ConnectionError, TimeoutError: Nothing answers there.
        """
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        if not connection.is_connected:
            await pool.release(connection)
            raise ConnectionError("the connection was closed before it was used")
        return cls(pool, connection, on_reply=on_reply, on_lost=on_lost)

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed it yet."""
        return not self._transport.is_closing()

    def send(self, *commands: Command) -> None:
        """Send commands; their replies come in the same order."""
        self._transport.write(b"".join([_pack(tuple(command)) for command in commands]))

    async def close(self) -> None:
        """Close the connection."""
        self._on_lost = _ignore
        self._transport.abort()
        await self._connection.disconnect(nowait=True)
        await self._pool.release(self._connection)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`; what is no Redis protocol ends the connection."""
        self._replies.feed(data)
        while (reply := self._replies.gets()) is not False:
            self._on_reply(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._on_lost(ConnectionError(f"the connection to Redis was lost{f': {exc}' if exc else ''}"))


def _ignore(_error: ConnectionError) -> None:
    """It was closed on purpose."""
