"""Backoff: growing delays, within bounds."""

from __future__ import annotations

import random

import pytest

from producer.webhooks.backoff import curve_s, delay_s
from shared.settings import WebhookSettings

SETTINGS = WebhookSettings()


def test_each_delay_is_four_times_the_one_before() -> None:
    """Up to the longest: a receiver that is away for a night is still told in the morning."""
    delays = [curve_s(attempt, SETTINGS) for attempt in range(1, SETTINGS.max_attempts)]
    assert delays == [10, 40, 160, 640, 2560, 10_240, 21_600]
    assert sum(delays) > 9 * 3600


def test_jitter_is_a_fifth() -> None:
    """So that those that failed together do not come back together."""
    rng = random.Random(1)
    delays = [delay_s(2, None, SETTINGS, rng) for _ in range(200)]
    assert 32 <= min(delays) < 34
    assert 46 < max(delays) <= 48


@pytest.mark.parametrize(("asked_s", "waited_s"), [(1, 40), (300, 300), (1e9, 21_600)])
def test_what_the_receiver_asks_for_is_waited(asked_s: float, waited_s: float) -> None:
    """Unless it is shorter than the own delay, or over the longest."""
    assert delay_s(2, asked_s, SETTINGS, random.Random(1)) == pytest.approx(waited_s, rel=0.2)
