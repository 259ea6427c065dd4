"""`[breaker]`: when a provider or model that keeps failing is left alone, and how it is tried again."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from shared.settings.section import Section
from shared.settings.sections import DAY_S


class BreakerSettings(Section):
    """Closed: calls pass. Open: none do. Half-open: a few probes decide."""

    failure_ratio: float = Field(default=0.5, ge=0.05, le=1)
    """Failed calls among those of the last `window_s` that open it, as a fraction."""

    min_calls: int = Field(default=20, ge=1, le=10_000)
    """Calls in `window_s` below which the ratio says nothing, so that one early failure opens nothing."""

    window_s: float = Field(default=10.0, ge=1, le=600)
    """How far back calls are counted, in seconds."""

    open_s: float = Field(default=15.0, ge=0.01, le=DAY_S)
    """How long it stays open the first time, in seconds; doubles each time the probes fail."""

    max_open_s: float = Field(default=300.0, ge=0.01, le=DAY_S)
    """It never stays open longer than this after failures, in seconds."""

    credential_open_s: float = Field(default=300.0, ge=0.01, le=DAY_S)
    """How long it stays open after 401, 402, 403 or a used-up quota that names no reset, in seconds."""

    probes: int = Field(default=3, ge=1, le=100)
    """Calls let through at once while half-open; as many good ones in a row close it."""

    @model_validator(mode="after")
    def _open_order(self) -> Self:
        if self.open_s > self.max_open_s:
            raise ValueError(f"open_s ({self.open_s:g}) must not be over max_open_s ({self.max_open_s:g})")
        return self
