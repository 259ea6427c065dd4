"""`[admission.<lane>]`: how much may wait in a lane before new jobs are refused."""

from __future__ import annotations

from pydantic import Field

from shared.settings.section import Section
from shared.settings.sections import DAY_S


class LaneBounds(Section):
    """Bounds of one lane. 0: no bound."""

    max_jobs: int = Field(default=0, ge=0, le=10**9)
    """Waiting jobs."""

    max_bytes: int = Field(default=0, ge=0, le=10**12)
    """Payload of unfinished jobs, in bytes: what Redis has to hold for them."""

    max_age_s: float = Field(default=0.0, ge=0, le=366 * DAY_S)
    """Age of the oldest waiting job, in seconds."""


class AdmissionSettings(Section):
    """Bounds by lane. None by default: jobs are refused only when Redis itself is full."""

    interactive: LaneBounds = LaneBounds()
    """For jobs somebody waits for: a refusal at once may be better than a late answer."""

    default: LaneBounds = LaneBounds()
    """For ordinary jobs."""

    batch: LaneBounds = LaneBounds()
    """For bulk jobs."""
