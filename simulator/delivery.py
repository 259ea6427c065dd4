"""How a reply with a delivery fault reaches the client, or does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from simulator.faults import Fault
from simulator.reply import Reply

_BLOCK = b"x" * 65536
_RESET_AFTER_S = 0.01
"""Lets what was written leave the process: a reset throws away what is still buffered."""


class Channel(Protocol):
    """The client's side of a delivery."""

    is_writable: bool
    """The client keeps up; false asks to wait for `Delivery.resume`."""

    def write(self, data: bytes) -> None:
        """Send now."""

    def finish(self) -> None:
        """The reply is complete; the next request may be served."""

    def end(self) -> None:
        """Close the connection after what was written."""

    def reset(self) -> None:
        """Drop the connection so that the client sees a reset."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run something later in the connection's event loop."""


class Delivery:
    """A delivery under way; this one waits for the client to give up (`hang`, `hang-after-headers`, `stall`)."""

    def resume(self) -> None:
        """The client has read enough to go on writing."""

    def cancel(self) -> None:
        """The connection is gone."""


class _ResetSoon(Delivery):
    """A reset once what was written is on its way."""

    def __init__(self, channel: Channel) -> None:
        self._timer = channel.call_later(_RESET_AFTER_S, channel.reset)

    def cancel(self) -> None:
        self._timer.cancel()


class _Trickle(Delivery):
    """One byte of the body at a time."""

    def __init__(self, channel: Channel, reply: Reply, interval_s: float) -> None:
        self._channel = channel
        self._interval_s = interval_s
        self._body = reply.body
        self._sent = 0
        channel.write(reply.head)
        self._timer = channel.call_later(interval_s, self._send_byte)

    def cancel(self) -> None:
        self._timer.cancel()

    def _send_byte(self) -> None:
        self._channel.write(self._body[self._sent : self._sent + 1])
        self._sent += 1
        if self._sent < len(self._body):
            self._timer = self._channel.call_later(self._interval_s, self._send_byte)
        else:
            self._channel.finish()


class _Filled(Delivery):
    """A huge body, made while it is sent: memory stays flat however slowly the client reads."""

    def __init__(self, channel: Channel, reply: Reply) -> None:
        self._channel = channel
        self._left_bytes = reply.filler_bytes
        self._tail = reply.body[reply.filler_at :]
        channel.write(reply.head + reply.body[: reply.filler_at])

    def resume(self) -> None:
        while self._left_bytes and self._channel.is_writable:
            block = _BLOCK[: self._left_bytes]
            self._left_bytes -= len(block)
            self._channel.write(block)
        if not self._left_bytes and self._channel.is_writable:
            self._channel.write(self._tail)
            self._channel.finish()


def begin(reply: Reply, fault: Fault, channel: Channel, *, trickle_interval_s: float) -> Delivery:
    """Start a faulty delivery. It ends through the channel, or when the client leaves."""
    half = reply.body[: len(reply.body) // 2]
    if fault is Fault.OVERSIZE:
        return _Filled(channel, reply)
    if fault is Fault.TRICKLE:
        return _Trickle(channel, reply, trickle_interval_s)
    if fault is Fault.RESET_MID:
        channel.write(reply.head + half)
        return _ResetSoon(channel)
    if fault is Fault.TRUNCATE:
        channel.write(reply.head + half)
        channel.end()
    elif fault is Fault.RESET:
        channel.reset()
    elif fault is Fault.HANG_AFTER_HEADERS:
        channel.write(reply.head)
    elif fault is Fault.STALL:
        channel.write(reply.head + half)
    return Delivery()
