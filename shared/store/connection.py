"""Connections of redis-py's asyncio client, with another way to send."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterable
from typing import Any, cast

from redis.asyncio.connection import AbstractConnection
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError, TimeoutError


class DirectConnection(AbstractConnection):
    """Packs commands in C, as redis-py's synchronous connection does, and sends them in the caller's task.

    redis-py packs them in Python: a group of outcomes is some 500 arguments and 100 kB. And it sends with
    `asyncio.wait_for`, which makes a task of each send and, before CPython 3.12, drops a cancellation that arrives
    while that task ends: what was cancelled went on for ever.
    """

    _serializer = HiredisRespSerializer()

    @classmethod
    def kind_of(cls, kind: type[AbstractConnection]) -> type[AbstractConnection]:
        """The same kind of connection (TCP, TLS, Unix socket, to Sentinel's master), in this way."""
        return cast(type[AbstractConnection], type(f"Direct{kind.__name__}", (cls, kind), {}))

    def pack_command(self, *args: Any) -> list[bytes]:
        """As redis-py's."""
        return cast(list[bytes], self._serializer.pack(*args))

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """As redis-py's, without its regular health checks, which chatq does not switch on.

        Raises:
            ConnectionError, TimeoutError: It may or may not have been sent; the connection is closed.
        """
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
        writer = cast(asyncio.StreamWriter, self._writer)
        try:
            async with asyncio.timeout(self.socket_timeout):
                if isinstance(command, bytes | str):
                    writer.write(command if isinstance(command, bytes) else command.encode())
                else:
                    writer.writelines(command)
                await writer.drain()
        except BaseException as exc:  # a part of it may be out
            writer.transport.abort()  # nor is the rest sent later
            await self.disconnect(nowait=True)
            if isinstance(exc, builtins.TimeoutError):
                raise TimeoutError(f"nothing could be sent within {self.socket_timeout:g} s") from None
            if isinstance(exc, OSError):
                raise ConnectionError(f"the connection was lost while sending: {exc}") from exc
            raise
