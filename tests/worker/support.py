"""What tests of the worker's parts share."""

from __future__ import annotations

from typing import Any

from shared.routing import Router
from worker.deltas import DeltaWriter
from worker.rating import Rater


def no_rater(router: Router) -> Rater:
    """For jobs that want no rating: it has no store, so it could not know any."""
    nothing: Any = None
    return Rater(router, nothing, nothing, nothing, max_bytes=4096)


def no_deltas() -> DeltaWriter:
    """For jobs whose answers nobody follows: it has no store."""
    nothing: Any = None
    return DeltaWriter(nothing)
