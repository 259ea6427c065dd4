"""Calls that get no answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Refusal:
    """A status and an error body in the wire's shape."""

    status: int
    body: bytes
    headers: bytes = b""
    """Further header lines, each ending in CRLF."""


class RefusedCall(Exception):
    """The call is refused; carries what to send."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


class InvalidRequest(ValueError):
    """The request itself is wrong; its wire turns this into a refusal of status 400.

    Args:
        message: What is wrong, in the provider's words where they are known.
        field: Path of the field at fault, as the wire writes paths.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
