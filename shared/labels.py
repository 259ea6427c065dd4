"""Labels: short texts of the caller's that travel in HTTP headers and telemetry (`source`, `client`)."""

from __future__ import annotations

from typing import Any

from shared.errors import InvalidRequest

MAX_LENGTH = 128
"""In characters."""


def check_label(value: Any, *, field: str) -> str:
    """The label, if it may stand in a header: printable ASCII, 1 to 128 characters.

    Raises:
        InvalidRequest: It is something else; names `field`.
    """
    if isinstance(value, str) and 0 < len(value) <= MAX_LENGTH and value.isascii() and value.isprintable():
        return value
    raise InvalidRequest(f"{field}: must be 1 to {MAX_LENGTH} printable ASCII characters", field=field)
