"""Webhooks: who ends hear of, how they are signed, and how long they are tried."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from shared.settings.section import Section

SECRET_PREFIX = "whsec_"
"""Before a secret that is written in base64 (Standard Webhooks); one without it is taken as it stands."""

HOUR_S = 3600


def _secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if text.startswith(SECRET_PREFIX):
        try:
            is_key = bool(base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True))
        except binascii.Error:
            is_key = False
        if not is_key:
            raise ValueError("must be base64 after whsec_, or a text that does not start with whsec_")
    return secret


class WebhookSettings(Section):
    """Calls to the clients' own addresses when a job, batch or response has ended."""

    secret: Annotated[SecretStr, AfterValidator(_secret)] = SecretStr("")
    """What they are signed with, `whsec_` and base64 or any text; receivers need it. Empty: no webhooks."""

    allow_private: bool = False
    """Whether loopback, private and link-local addresses may be called: for receivers in the own network."""

    max_attempts: int = Field(default=8, ge=1, le=20)
    """Calls at most, until one is answered by a 2xx."""

    first_backoff_s: float = Field(default=10.0, ge=0.01, le=HOUR_S)
    """Delay after the first failed call, in seconds; four times as long after each further one."""

    longest_backoff_s: float = Field(default=6.0 * HOUR_S, ge=0.01, le=24 * HOUR_S)
    """No delay is longer than this, in seconds, whatever the receiver asks for."""

    timeout_s: float = Field(default=10.0, ge=0.1, le=60)
    """Longest call, from looking its host up to the head of the answer, in seconds."""

    concurrency: int = Field(default=50, ge=1, le=1000)
    """Calls at the same time in one process; a fifth of them to one host."""

    @model_validator(mode="after")
    def _backoff_order(self) -> Self:
        if self.first_backoff_s > self.longest_backoff_s:
            first, longest = self.first_backoff_s, self.longest_backoff_s
            raise ValueError(f"first_backoff_s ({first:g}) must not be over longest_backoff_s ({longest:g})")
        return self
