"""Live facts: known from the refresh after the first question on, kept fresh, and with what was sent since."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from decimal import Decimal

import pytest

from shared.catalogue import Catalogue
from shared.errors import StoreUnavailable
from shared.group_follower import GroupFollower
from shared.job import Candidate, Lane
from shared.live_facts import LiveFacts
from shared.providers import ProviderRegistry
from shared.routing import Facts, Router
from shared.settings import GroupSettings, Settings
from shared.store.call_result import Blame
from shared.store.groups import GroupStore
from tests.shared.store.conftest import Bench

HERE, THERE = Candidate("p", "m"), Candidate("q", "m")


@pytest.fixture
def live(bench: Bench) -> LiveFacts:
    return LiveFacts(bench.store, Catalogue.from_settings(Settings()), closed_s=5)


@pytest.fixture
def facts(live: LiveFacts) -> Facts:
    return live.of(Lane.DEFAULT)


def reads(bench: Bench) -> int:
    """Scripts that were run so far."""
    stats = bench.raw.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "evalsha_ro"))


async def finish_of(live: LiveFacts, candidate: Candidate) -> dict[Lane, float]:
    """When a job would be done there, by lane."""
    return await live.decide(lambda: {lane: live.of(lane).finish_in_s(candidate) or 0.0 for lane in Lane})


async def test_first_decision_is_made_again(bench: Bench, live: LiveFacts, facts: Facts) -> None:
    """It was made in the dark; the second one is not."""
    bench.set_policy(min_calls=1, open_ms=60_000)
    await bench.submit("a")
    await bench.fail(*await bench.claim())
    answers: list[bool] = []

    def ask() -> bool:
        answers.append(facts.is_open(HERE))
        return answers[-1]

    assert await live.decide(ask)
    assert answers == [False, True]
    assert await live.decide(ask)
    assert answers == [False, True, True]


async def test_any_breaker_is_open(bench: Bench, live: LiveFacts, facts: Facts) -> None:
    """Also one that tries again in a moment: nobody knows what comes of it."""
    bench.set_policy(min_calls=1, open_ms=3_000)
    await bench.submit("a")
    await bench.fail(*await bench.claim())
    assert await live.decide(lambda: facts.is_open(HERE))


@pytest.mark.parametrize(("wait_s", "is_open"), [(3.0, False), (30.0, True)])
async def test_long_cooldown_is_open(
    bench: Bench, live: LiveFacts, facts: Facts, wait_s: float, is_open: bool
) -> None:
    """Waiting a moment is better than another target."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.limit(grant, Blame("account", "rate", wait_s))
    assert await live.decide(lambda: facts.is_open(HERE)) is is_open


async def test_pace_and_backlog_are_known(bench: Bench, live: LiveFacts, facts: Facts) -> None:
    await bench.submit("a")
    (grant,) = await bench.claim()
    bench.let_time_pass(2)
    await bench.answer(grant, prompt=5, output=5)
    assert (facts.p50_s(HERE), facts.finish_in_s(HERE)) == (None, None)
    await live.refresh()
    assert facts.p50_s(HERE) == pytest.approx(2, abs=0.5)
    assert facts.finish_in_s(HERE) == pytest.approx(2, abs=0.5)


async def test_each_lane_has_its_own_backlog(bench: Bench, live: LiveFacts) -> None:
    """A batch stands in its own way, not in that of the others."""
    await bench.limits.set("account:p", {"rpm": 60, "concurrency": 0})
    await bench.submit(*(f"w{n}" for n in range(300)), queue="p.batch")
    finish = await finish_of(live, HERE)
    assert finish[Lane.BATCH] == pytest.approx(300, rel=0.05)
    assert finish[Lane.DEFAULT] == pytest.approx(1, abs=0.1)


async def test_what_never_answered_takes_for_ever(bench: Bench, live: LiveFacts, facts: Facts) -> None:
    """What was not tried may be fast."""
    await bench.submit("a")
    (grant,) = await bench.claim()
    await bench.settle([grant], [bench.shown(grant, "refused", ended="unfit")], "failed")
    assert await live.decide(lambda: (facts.p50_s(HERE), facts.finish_in_s(HERE))) == (math.inf, math.inf)
    assert await live.decide(lambda: facts.p50_s(THERE)) is None


async def test_what_was_not_tried_is_tried_by_one_job(live: LiveFacts, facts: Facts) -> None:
    """Until it was looked at again: a thousand jobs are no trial."""
    assert await live.decide(lambda: facts.p50_s(HERE)) is None
    live.sent(HERE, Lane.DEFAULT)
    assert facts.p50_s(HERE) == math.inf


async def test_jobs_sent_since_count(bench: Bench, live: LiveFacts) -> None:
    """In their own lane, and in those that they go before."""
    await bench.limits.set("account:p", {"rpm": 60, "concurrency": 0})
    before = await finish_of(live, HERE)
    for _ in range(10):
        live.sent(HERE, Lane.DEFAULT)
    after = await finish_of(live, HERE)
    added = {lane: after[lane] - before[lane] for lane in Lane}
    assert added == {
        Lane.INTERACTIVE: 0,
        Lane.DEFAULT: pytest.approx(10, rel=0.02),
        Lane.BATCH: pytest.approx(10, rel=0.02),
    }


async def test_jobs_go_where_they_are_done_first(bench: Bench, live: LiveFacts) -> None:
    """Three times as many to a target with three times the rate, without a second look."""
    await bench.limits.set("account:p", {"rpm": 180, "concurrency": 0})
    await bench.limits.set("account:q", {"rpm": 60, "concurrency": 0})
    facts = live.of(Lane.BATCH)

    def choose() -> Candidate:
        return min((HERE, THERE), key=lambda one: facts.finish_in_s(one) or 0.0)

    await live.decide(choose)
    chosen: Counter[Candidate] = Counter()
    for _ in range(1_000):
        candidate = choose()
        live.sent(candidate, Lane.BATCH)
        chosen[candidate] += 1
    assert chosen[HERE] == pytest.approx(750, abs=5)


async def test_thousand_questions_are_one_read(bench: Bench, live: LiveFacts, facts: Facts) -> None:
    """At the same time, of the same candidates."""
    before = reads(bench)
    await asyncio.gather(*(live.decide(lambda: facts.is_open(HERE)) for _ in range(1_000)))
    assert reads(bench) - before == 1


async def test_question_during_a_read_is_answered(live: LiveFacts, facts: Facts) -> None:
    """By the next one: what was asked for meanwhile stays asked for."""
    facts.finish_in_s(HERE)
    reading = asyncio.create_task(live.refresh())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert facts.finish_in_s(THERE) is None
    await reading
    assert await live.decide(lambda: facts.finish_in_s(THERE)) is not None


async def test_jobs_sent_during_a_read_count(live: LiveFacts, facts: Facts) -> None:
    """What was read may be older than they are; those of before are in it."""
    await live.decide(lambda: facts.finish_in_s(HERE))
    live.sent(HERE, Lane.DEFAULT)
    facts.finish_in_s(THERE)
    reading = asyncio.create_task(live.refresh())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    live.sent(HERE, Lane.DEFAULT)
    live.sent(HERE, Lane.DEFAULT)
    await reading
    assert live.sent_to(HERE, Lane.DEFAULT) == 2


async def test_everybody_is_told_of_an_outage(
    bench: Bench, live: LiveFacts, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, not one after the other; and afterwards it goes on."""
    tries = 0

    async def down(*args: object) -> bytes:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.01)
        raise StoreUnavailable("down")

    facts.is_open(HERE)
    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "run", down)
        told = await asyncio.gather(*(live.refresh() for _ in range(100)), return_exceptions=True)
    assert {type(one) for one in told} == {StoreUnavailable}
    assert tries == 1
    assert await live.decide(lambda: facts.finish_in_s(HERE)) is not None


async def test_who_gives_up_does_not_end_a_read(live: LiveFacts, facts: Facts) -> None:
    """Others wait for it."""
    facts.is_open(HERE)
    first = asyncio.create_task(live.refresh())
    await asyncio.sleep(0)
    second = asyncio.create_task(live.refresh())
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert facts.finish_in_s(HERE) is not None


async def test_price_needs_no_fleet(bench: Bench, live: LiveFacts, facts: Facts) -> None:
    """It comes from the catalogue; own hardware costs nothing, and what nobody knows is not 0."""
    before = reads(bench)
    assert facts.price_usd(Candidate("ollama", "x"), 1000, 1000) == Decimal(0)
    assert facts.price_usd(Candidate("p", "nobody-knows-it"), 1000, 1000) is None
    assert (facts.price_usd(Candidate("openai", "gpt-5.4-mini"), 1000, 1000) or 0) > 0
    await live.refresh()
    assert reads(bench) == before


async def test_groups_without_a_version_are_followed(bench: Bench) -> None:
    """Whatever became of it."""
    settings = Settings()
    router = Router.from_settings(settings, ProviderRegistry.from_settings(settings, env={}))
    await GroupStore(bench.store).set("mine", GroupSettings(targets=("ollama/a",)))
    bench.raw.delete("chatq:groups:version")
    await GroupFollower(GroupStore(bench.store), router).catch_up()
    assert router.resolve("mine").upstream_model == "a"


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
