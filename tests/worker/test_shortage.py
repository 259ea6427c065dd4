"""What ran out, and the limit that is named for it."""

from __future__ import annotations

import pytest

from shared.errors import Dimension
from shared.observed_limits import ObservedLimits
from worker.shortage import dimension_of, limit_of

WORDS: list[tuple[str, Dimension | None, int | None]] = [
    ("message=your current concurrency is 40, which exceeds your concurrency limit of 39", "concurrency", 39),
    ("message=request reached max organization concurrency: 50, please try again", "concurrency", 50),
    ("message=too many concurrent requests", "concurrency", None),
    ("message=organization max rpm: 3, please try again after 1 seconds", "requests", 3),
    ("message=on requests per min (rpm): limit 3, used 3, requested 1", "requests", 3),
    ("message=on requests per day (rpd): limit 200, used 200", "requests", None),
    ("message=too many requests: 8 requests per second, limit 8", "requests", None),
    ("message=organization tpm rate limit, current: 5, limit: 30,000", "tokens", 30000),
    ("message=organization tpd rate limit, current: 5, limit: 30", "tokens", None),
    ("message=rate limit reached\ntype=tokens", "tokens", None),
    ("message=rate limit reached\ntype=requests", "requests", None),
    ("message=too many requests", None, None),
]


@pytest.mark.parametrize(("words", "dimension", "limit"), WORDS)
def test_words_name_the_shortage(words: str, dimension: Dimension | None, limit: int | None) -> None:
    """The number is taken only where it is a limit per minute, or one on concurrency."""
    named = dimension_of(words, None)
    assert (named, limit_of(named, words, None) if named else None) == (dimension, limit)


def test_empty_bucket_goes_before_the_words() -> None:
    """Headers are made by the limiter; words are made for people."""
    words = "message=tokens per min: limit 5"
    assert dimension_of(words, ObservedLimits(60, 0, 90, 90)) == "requests"
    assert dimension_of(words, ObservedLimits(60, 1, 90, 0)) == "tokens"
    assert dimension_of(words, ObservedLimits(60, 1, 90, 1)) == "tokens"
    assert limit_of("tokens", words, ObservedLimits(60, 1, 90, 1)) == 90
    assert limit_of("tokens", words, ObservedLimits(60, 1)) == 5
