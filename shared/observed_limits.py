"""What an upstream's rate headers say of the limits it keeps for us."""

from __future__ import annotations

from typing import NamedTuple


class ObservedLimits(NamedTuple):
    """Limits per minute as one answer stated them; None = not stated."""

    limit_requests: int | None = None
    """Requests a minute."""
    remaining_requests: int | None = None
    """Requests that may still be sent now."""
    limit_tokens: int | None = None
    """Tokens a minute."""
    remaining_tokens: int | None = None
    """Tokens that may still be used now."""
