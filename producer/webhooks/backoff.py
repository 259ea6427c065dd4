"""Backoff: the delay before an end is told again. Pure; the curve stands apart from the jitter."""

from __future__ import annotations

import random

from shared.settings import WebhookSettings

GROWTH = 4.0
"""Each delay is so many times the one before: eight calls with the default settings span ten hours."""


def curve_s(attempt: int, settings: WebhookSettings) -> float:
    """The delay after a failed attempt without jitter, in seconds.

    Args:
        attempt: Number of the attempt that failed; the first call is 1.
    """
    return min(settings.longest_backoff_s, settings.first_backoff_s * GROWTH ** (attempt - 1))


def delay_s(
    attempt: int, retry_after_s: float | None, settings: WebhookSettings, rng: random.Random
) -> float:
    """The delay after a failed attempt, in seconds: the curve, up to a fifth less or more, within the longest.

    Args:
        attempt: Number of the attempt that failed; the first call is 1.
        retry_after_s: What the receiver asks for; it is waited for unless it is over the longest delay.
    """
    wished = curve_s(attempt, settings) * rng.uniform(0.8, 1.2)
    return min(settings.longest_backoff_s, max(wished, retry_after_s or 0.0))
