"""Live facts: known from the refresh after the first question on, and kept fresh."""

from __future__ import annotations

from decimal import Decimal

import pytest

from shared.catalogue import Catalogue
from shared.group_follower import GroupFollower
from shared.job import Candidate, Lane
from shared.live_facts import LiveFacts
from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import GroupSettings, Settings
from shared.store.groups import GroupStore
from tests.shared.store.conftest import Bench

HERE = Candidate("p", "m")


@pytest.fixture
def facts(bench: Bench) -> LiveFacts:
    catalogue = Catalogue.from_settings(Settings())
    return LiveFacts(bench.store, catalogue, lane=Lane.DEFAULT, closed_s=5)


async def test_open_breaker_is_known_after_a_refresh(bench: Bench, facts: LiveFacts) -> None:
    """The first question is answered in the dark."""
    bench.set_policy(min_calls=1, open_ms=60_000)
    await bench.submit("a")
    await bench.fail(*await bench.claim())
    assert not facts.is_open(HERE)
    assert facts.is_lacking
    await facts.refresh()
    assert not facts.is_lacking
    assert facts.is_open(HERE)


async def test_short_closure_is_not_open(bench: Bench, facts: LiveFacts) -> None:
    """Waiting a moment is better than another target."""
    bench.set_policy(min_calls=1, open_ms=3_000)
    await bench.submit("a")
    await bench.fail(*await bench.claim())
    facts.is_open(HERE)
    await facts.refresh()
    assert not facts.is_open(HERE)


async def test_pace_and_backlog_are_known(bench: Bench, facts: LiveFacts) -> None:
    await bench.submit("a")
    (grant,) = await bench.claim()
    bench.let_time_pass(2)
    await bench.answer(grant, prompt=5, output=5)
    assert (facts.p50_s(HERE), facts.finish_in_s(HERE)) == (None, None)
    await facts.refresh()
    assert facts.p50_s(HERE) == pytest.approx(2, abs=0.5)
    assert facts.finish_in_s(HERE) == pytest.approx(2, abs=0.5)


async def test_price_needs_no_fleet(facts: LiveFacts) -> None:
    """It comes from the catalogue; own hardware costs nothing, and what nobody knows is not 0."""
    assert facts.price_usd(Candidate("ollama", "x"), 1000, 1000) == Decimal(0)
    assert facts.price_usd(Candidate("p", "nobody-knows-it"), 1000, 1000) is None
    assert (facts.price_usd(Candidate("openai", "gpt-5.4-mini"), 1000, 1000) or 0) > 0
    assert not facts.is_lacking


async def test_router_follows_groups_of_the_run_time(bench: Bench) -> None:
    """A change, and its end; what is unchanged is not read again."""
    settings = Settings()
    router = Router.from_settings(settings, ProviderRegistry.from_settings(settings, env={}))
    groups = GroupStore(bench.store)
    follower = GroupFollower(groups, router)
    await groups.set("mine", GroupSettings(targets=("ollama/a",)))
    await follower.catch_up()
    assert router.resolve("mine").upstream_model == "a"
    book = router.groups
    await follower.catch_up()
    assert router.groups is book
    bench.raw.flushall()  # a Redis that lost its data
    await follower.catch_up()
    assert router.group_of("mine") is None
