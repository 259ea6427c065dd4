"""Kept ratings: found again under the same digest, for as long as they are kept."""

from __future__ import annotations

from shared.store.ratings import RatingStore
from tests.shared.store.conftest import Bench


async def test_rating_is_found_again(bench: Bench) -> None:
    ratings = RatingStore(bench.store)
    assert await ratings.get("a1") is None
    await ratings.put("a1", 7, keep_s=100)
    assert await ratings.get("a1") == 7
    assert await ratings.get("b2") is None


async def test_rating_goes_with_its_time(bench: Bench) -> None:
    await RatingStore(bench.store).put("a1", 7, keep_s=100)
    assert 0 < bench.raw.ttl("chatq:rating:a1") <= 100


async def test_junk_is_no_rating(bench: Bench) -> None:
    """Anybody can write to Redis."""
    for junk in ("nine", "-1", "1e9", "99999999999"):
        bench.raw.set("chatq:rating:a1", junk, ex=100)
        assert await RatingStore(bench.store).get("a1") is None
