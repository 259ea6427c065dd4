"""`[clients.<id>]`: what those who submit jobs may use, and how they share it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from shared.errors import InvalidRequest
from shared.labels import check_label
from shared.settings.limits import ClientLimitSettings
from shared.settings.section import Section


def _client_id(text: str) -> str:
    try:
        return check_label(text, field="client")
    except InvalidRequest as exc:
        raise ValueError(str(exc)) from None


ClientId = Annotated[str, AfterValidator(_client_id)]
"""The `client` that jobs are submitted with."""


class ClientSettings(Section):
    """One client. Those without an entry have weight 1 and no limits."""

    weight: int = Field(default=1, ge=1, le=1000)
    """Share among the clients that have work in the same lane."""

    limits: ClientLimitSettings = ClientLimitSettings()
    """What this client may use at most, besides the limits of the providers."""

    budget_usd: float | None = Field(default=None, ge=0, le=1e9)
    """What its calls may cost in a day (UTC), in US dollars; `chatq run` stops there. None: no budget."""
