"""Ratings: a selector's call on a job's way to its target, and what is left when something goes wrong after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from shared.catalogue import Catalogue
from shared.chat import parse_request
from shared.errors import RateLimited, UpstreamUnavailable
from shared.group_follower import GroupFollower
from shared.job_record import job_record
from shared.live_facts import LiveFacts
from shared.providers import Provider, ProviderRegistry
from shared.routing import NO_FACTS, Features, GroupBook, Router, features_of
from shared.settings import GroupSettings, ModelSettings, Settings
from shared.store.call_result import CallResult
from shared.store.connect import Store
from shared.store.grants import Grant, Hops, Outcome, Release, Routed, Settlement
from shared.store.groups import GroupStore
from shared.store.ratings import RatingStore
from shared.usage import NO_USAGE
from shared.way import find_way, way_fields
from tests.worker.support import no_deltas
from worker.attempt import AttemptRunner, Slot
from worker.rating import Rater
from worker.settlement import Stop
from worker.upstream import Answer
from worker.verdict import RetryPolicy

REQUEST = parse_request({"model": "g", "messages": [{"role": "user", "content": "a hard question"}]})
GROUP: dict[str, Any] = {
    "strategy": "classifier",
    "targets": ["t/small", "t/large"],
    "selector": "s/rater",
    "complexity_threshold": 10,
}
POLICY = RetryPolicy(max_attempts=3, backoff_base_s=0.5, backoff_max_s=30.0, max_rate_limit_waits=2)


class Selector:
    """Answers with a text, or fails."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.says: str | Exception = "9"
        self.finish_reason = "stop"
        self.asked: list[str] = []

    async def call(
        self, request: Any, model: str, *, headers: Any, timeout_s: float, on_delta: object = None
    ) -> Answer:
        self.asked.append(request.messages[-1]["content"])
        if isinstance(self.says, Exception):
            raise self.says
        message = {"role": "assistant", "content": self.says}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        response = {"choices": [choice], "chatq": {}}
        usage = {**NO_USAGE, "input_total": 90, "output_total": 2}
        return Answer(response, usage, self.finish_reason, 0.1, None)  # type: ignore[arg-type]

    async def close(self) -> None:
        raise AssertionError("nothing closes it")


class Bench:
    """A runner that knows a group, and its selector."""

    def __init__(self, store: Store) -> None:
        self.registry = ProviderRegistry({n: Provider(n, "openai", f"http://{n}/v1") for n in "st"})
        self.router = self.router_with({"g": GROUP})
        self.selector = Selector(self.registry.get("s"))
        catalogue = Catalogue.from_settings(Settings())
        self.facts = LiveFacts(store, catalogue, closed_s=5)
        groups = GroupFollower(GroupStore(store), self.router)
        self.rater = Rater(self.router, groups, self.facts, RatingStore(store), max_bytes=4096)
        self.runner = AttemptRunner(
            self.router,
            {"s": self.selector},
            POLICY,
            catalogue=catalogue,
            rater=self.rater,
            max_bytes=4096,
            deltas=no_deltas(),
        )

    def router_with(self, groups: dict[str, Any]) -> Router:
        book = GroupBook(file={name: GroupSettings.model_validate(one) for name, one in groups.items()})
        return Router(self.registry, ModelSettings(), "t", groups=book)

    def slot(self, *, hops: Hops | None = None, waits: int = 0, attempts: int = 1, **group: Any) -> Slot:
        """A job at its selector, as a producer that has this group submits it."""

        def features() -> Features:
            return features_of(REQUEST, b"{}")

        way = find_way(REQUEST, features, self.router_with({"g": {**GROUP, **group}}), NO_FACTS)
        info = orjson.dumps(job_record("g", (), client="c") | way_fields(way, tags=["mine"]))
        data = orjson.dumps(["worker.tasks.chat", None, [REQUEST.body()], {}])
        grant = Grant(
            "id",
            "1-n",
            "s.default",
            data,
            info,
            attempts,
            3,
            None,
            None,
            1000.0,
            waits,
            70,
            0,
            hops or Hops(),
        )
        return Slot(grant, "s", time.monotonic())

    async def run(self, **fields: Any) -> Settlement:
        return await self.runner.run(self.slot(**fields))


@pytest.fixture
async def bench(store: Store) -> AsyncIterator[Bench]:
    yield Bench(store)


def answered() -> bytes:
    return CallResult(
        70, 1000.0, "good", prompt_tokens=90, output_tokens=2, ended="ok", is_billed=True
    ).encode()


async def test_rated_job_goes_to_its_target(bench: Bench) -> None:
    """With the decision on its record, the call on the books, and its other target behind."""
    routed = await bench.run()
    assert isinstance(routed, Routed)
    record = orjson.loads(routed.info)
    assert record["candidates"] == [["t", "large"], ["t", "small"]]
    assert record["chain"] == ["g (rating 9/10)", "t/large"]
    assert record["client"] == "c"
    assert {"selection", "unrated_chain"}.isdisjoint(record)
    (first, second) = orjson.loads(routed.route)
    assert first[:2] == ["t", "large"]
    assert len(first) == 4
    assert second == ["t", "small"]
    assert routed.shown == answered()
    assert orjson.loads(routed.attempt_event)["rates_for"] == "g"
    assert "a hard question" in bench.selector.asked[0]


async def test_selector_that_fails_is_not_asked_again(bench: Bench) -> None:
    bench.selector.says = UpstreamUnavailable("down")
    left = await bench.run()
    assert isinstance(left, Release)
    assert (left.reason, left.gives_attempt_back) == ("unrated", True)


@pytest.mark.parametrize(("waits", "reason"), [(0, "rate_limited"), (2, "unrated")])
async def test_limit_of_the_selector_is_a_wait_up_to_the_cap(bench: Bench, waits: int, reason: str) -> None:
    """Then the job does without; no attempt of it is spent either way."""
    bench.selector.says = RateLimited("wait", retry_after_s=1.0, scope="account")
    left = await bench.run(waits=waits)
    assert isinstance(left, Release)
    assert (left.reason, left.gives_attempt_back) == (reason, True)


@pytest.mark.parametrize(
    ("text", "finish", "rating"),
    [("", "stop", 1), ("hm", "length", None), ("hm", "stop", 1), ("", "length", None)],
)
async def test_answer_that_was_cut_off_before_it_began_is_no_rating(
    bench: Bench, text: str, finish: str, rating: int | None
) -> None:
    """Garbage counts as 1; a model that thinks away its answer has not rated."""
    bench.selector.says, bench.selector.finish_reason = text, finish
    left = await bench.run()
    if rating is None:
        assert isinstance(left, Release)
        assert (left.reason, left.shown) == ("unrated", answered())
        assert orjson.loads(left.attempt_event)["error"] is None
    else:
        assert isinstance(left, Routed)
        assert orjson.loads(left.info)["chain"][0] == f"g (rating {rating}/10)"


async def test_rating_means_what_it_did_at_the_submit(bench: Bench) -> None:
    """The producer's group counts, also where the worker has another of that name."""
    routed = await bench.run(targets=["t/a", "t/b"], complexity_threshold=90, fallback=False)
    assert isinstance(routed, Routed)
    record = orjson.loads(routed.info)
    assert record["candidates"] == [["t", "a"]]
    assert record["chain"] == ["g (rating 9/90)", "t/a"]


async def test_paid_rating_that_leads_nowhere_is_on_the_books(bench: Bench) -> None:
    """No target is registered here; the job goes on without its rating."""
    slot = bench.slot()
    del bench.registry.registered["t"]
    bench.router.follow(bench.router.groups)
    left = await bench.runner.run(slot)
    assert isinstance(left, Release)
    assert (left.reason, left.shown) == ("misrated", answered())
    assert orjson.loads(left.attempt_event)["input_total"] == 90


async def test_bug_after_a_paid_rating_costs_only_the_rating(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(bench.rater, "send_on", broken)
    left = await bench.run()
    assert isinstance(left, Release)
    assert (left.reason, left.shown) == ("misrated", answered())
    assert orjson.loads(left.error)["code"] == "internal_error"


@pytest.mark.parametrize(("stop", "kind"), [("drained", Routed), ("stopped", Outcome), ("revoked", Outcome)])
async def test_stop_after_the_rating_is_paid_does_not_pay_it_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, stop: Stop, kind: type
) -> None:
    """A worker that drains sends the job on by what it knows; one that is told to drop the job ends it."""
    waiting = asyncio.Event()

    async def hang(*_: object) -> None:
        waiting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.rater, "prepare", hang)
    slot = bench.slot()
    slot.task = asyncio.create_task(_keep(bench.runner.run(slot), results := []))
    await waiting.wait()
    slot.drop(stop)
    await slot.task
    (left,) = results
    assert isinstance(left, kind)
    assert left.shown == answered()


async def _keep(run: Any, results: list[Settlement]) -> None:
    results.append(await run)


async def test_known_rating_needs_no_call(bench: Bench) -> None:
    """It draws no tokens."""
    await bench.run(cache_s=60)
    routed = await bench.run(cache_s=60)
    assert isinstance(routed, Routed)
    assert len(bench.selector.asked) == 1
    assert routed.shown == CallResult(70, 1000.0, "refused").encode()
    assert routed.attempt_event == b""
