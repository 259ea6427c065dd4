"""Limits: how much a provider allows an account, or chatq a client."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.settings.section import Section

Charge = Literal["prompt+max", "max(prompt,max)", "prompt_then_output"]
"""How a provider counts the tokens of a call when it arrives, before the answer's length is known."""


class ClientLimitSettings(Section):
    """What one client may use at most, of all providers together. None: no limit of that kind."""

    rpm: int | None = Field(default=None, ge=1, le=10_000_000)
    """Requests per minute."""

    tpm: int | None = Field(default=None, ge=1, le=10**12)
    """Tokens per minute, prompt and answer together."""

    concurrency: int | None = Field(default=None, ge=1, le=1_000_000)
    """Calls at the same time."""

    slice_s: float = Field(default=0.5, ge=0.05, le=60)
    """Burst: at most the allowance of this many seconds may be used at once.

    Short, so that a minute's allowance is spread over the minute.
    """


class LimitSettings(ClientLimitSettings):
    """What a provider allows an account, or one model of it. None: not known, so nothing is held back for it."""

    charge: Charge = "prompt+max"
    """What the provider takes from the `tpm` beside it when a call arrives.

    `prompt+max`: the prompt's tokens and `max_tokens`. `max(prompt,max)`: the larger of the two.
    `prompt_then_output`: the prompt's tokens; the answer's as they are written.
    """
