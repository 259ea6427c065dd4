"""What an attempt cost is on its event, in the job's record and among the counters, also when it failed."""

from __future__ import annotations

import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import pytest

from shared.catalogue import Catalogue
from shared.chat import ChatRequest, parse_request
from shared.errors import ChatqError, InvalidRequest, RateLimited, UpstreamUnavailable
from shared.job import Candidate
from shared.providers import Provider, ProviderRegistry
from shared.routing import Router
from shared.settings import Settings
from shared.settings.catalogue import ModelEntry, RateSettings
from shared.store.call_result import CallResult
from shared.store.grants import Grant, Outcome, Release, Settlement
from shared.usage import NO_USAGE, Usage
from tests.worker.support import no_deltas, no_rater
from worker.attempt import AttemptRunner, Slot
from worker.costing import NOTHING_TO_PAY, Cost, Costing, record
from worker.upstream import Answer
from worker.verdict import RetryPolicy

MINI = Candidate("openai", "gpt-5.4-mini")
LOCAL = Candidate("ollama", "qwen3.5:latest")
AT = 1_795_000_000.0
USAGE: Usage = {**NO_USAGE, "input_total": 12_000, "input_cached": 10_000, "output_total": 2_000}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.fixture
def costing(settings: Settings) -> Costing:
    return Costing(Catalogue.from_settings(settings))


def request(*content: Any) -> ChatRequest:
    return parse_request({"model": "m", "messages": [{"role": "user", "content": list(content) or "hi"}]})


def answer(usage: Usage = USAGE, **more: Any) -> Answer:
    return Answer({"chatq": {}, **more}, usage, "stop", 0.25, None)


def test_answer_is_priced_by_what_was_counted(costing: Costing) -> None:
    """2,000 x 0.75 + 10,000 cached x 0.075 + 2,000 x 4.5 micro-USD."""
    assert costing.answered(request(), MINI, answer(), at=AT) == Cost(0.01125, "computed")


def test_word_of_the_provider_goes_first(costing: Costing) -> None:
    stated = answer({**USAGE, "cost_usd": 0.00095})
    assert costing.answered(request(), MINI, stated, at=AT) == Cost(0.00095, "reported")


@pytest.mark.parametrize(
    ("tier", "basis"), [(None, "computed"), ("default", "computed"), ("flex", "no_price")]
)
def test_other_service_tier_has_another_price(costing: Costing, tier: str | None, basis: str) -> None:
    """Which the catalogue does not have: better unknown than wrong."""
    assert costing.answered(request(), MINI, answer(service_tier=tier), at=AT).basis == basis


def test_images_are_counted_where_they_have_a_price(settings: Settings) -> None:
    """3 x 0.0025 USD besides the tokens, which cost nothing here."""
    entry = ModelEntry(price=RateSettings(input=0.0, output=0.0, image=0.0025))
    priced = settings.model_copy(update={"catalogue": {"openai/gpt-5.4-mini": entry}})
    asked = request(IMAGE, {"type": "text", "text": "Which?"}, IMAGE, IMAGE)
    cost = Costing(Catalogue.from_settings(priced)).answered(asked, MINI, answer(), at=AT)
    assert cost == Cost(0.0075, "computed")


@pytest.mark.parametrize(
    ("candidate", "error", "cost"),
    [
        (MINI, UpstreamUnavailable("cut off", maybe_billed=True), Cost(None, "no_usage")),
        (
            Candidate("openai", "gpt-99"),
            UpstreamUnavailable("cut off", maybe_billed=True),
            Cost(None, "no_price"),
        ),
        (LOCAL, UpstreamUnavailable("cut off", maybe_billed=True), Cost(0.0, "local")),
        (MINI, None, Cost(None, "no_usage")),
        (LOCAL, None, Cost(0.0, "local")),
        (MINI, RateLimited("slow down"), NOTHING_TO_PAY),
        (MINI, InvalidRequest("never sent"), NOTHING_TO_PAY),
    ],
)
def test_failed_call_may_cost_something(
    costing: Costing, candidate: Candidate, error: ChatqError | None, cost: Cost
) -> None:
    """What was sent may be charged, also when we dropped it; what was turned away is not."""
    assert costing.failed(candidate, error, at=AT) == cost


def test_failed_call_is_priced_by_what_was_counted(costing: Costing) -> None:
    """An answer that is none may say all the same what it took."""
    error = UpstreamUnavailable("the model looped", maybe_billed=True)
    error.usage = USAGE
    assert costing.failed(MINI, error, at=AT) == Cost(0.01125, "computed")


def test_record_of_the_answer_has_its_cost() -> None:
    response: dict[str, Any] = {"chatq": {"provider": "openai"}}
    record(response, Cost(None, "no_price"))
    assert response["chatq"] == {"provider": "openai", "cost_usd": None, "cost_basis": "no_price"}


class Answering:
    """An upstream that answers, or fails."""

    def __init__(self, provider: Provider, result: Answer | ChatqError) -> None:
        self.provider = provider
        self._result = result

    async def call(
        self,
        request: ChatRequest,
        model: str,
        *,
        headers: Mapping[str, str],
        timeout_s: float,
        on_delta: object = None,
    ) -> Answer:
        if isinstance(self._result, ChatqError):
            raise self._result
        return self._result

    async def close(self) -> None:
        raise AssertionError("nothing closes it")


Run = Callable[[Answer | ChatqError], Awaitable[Settlement]]


@pytest.fixture
def run(settings: Settings, registry: ProviderRegistry) -> Run:
    """Make one attempt at OpenRouter, with this result."""
    policy = RetryPolicy(max_attempts=3, backoff_base_s=0.5, backoff_max_s=30.0, max_rate_limit_waits=5)
    data = orjson.dumps(["worker.tasks.chat", None, [request().body()], {}])
    info = orjson.dumps({"candidates": [["openrouter", "openai/gpt-5.4-mini"]]})
    grant = Grant("id", "1-n", "openrouter.default", data, info, 1, 3, None, None, AT, 0, 70)

    async def attempt(result: Answer | ChatqError) -> Settlement:
        upstreams = {"openrouter": Answering(registry.get("openrouter"), result)}
        router = Router.from_settings(settings, registry)
        catalogue = Catalogue.from_settings(settings)
        runner = AttemptRunner(
            router,
            upstreams,
            policy,
            catalogue=catalogue,
            rater=no_rater(router),
            max_bytes=4096,
            deltas=no_deltas(),
        )
        return await runner.run(Slot(grant, "openrouter", time.monotonic()))

    return attempt


async def test_cost_of_an_answer_is_everywhere(run: Run) -> None:
    """In the job's record, on the event of the call, and in what the counters are told."""
    done = await run(answer())
    assert isinstance(done, Outcome)
    event, said = orjson.loads(done.attempt_event), orjson.loads(done.value)["chatq"]
    assert (event["cost_usd"], event["cost_source"]) == (0.01125, "computed")
    assert (said["cost_usd"], said["cost_basis"]) == (0.01125, "computed")
    told = CallResult(70, AT, "good", 12_000, 2_000, ended="ok", cost_usd=0.01125, is_billed=True)
    assert done.shown == told.encode()


async def test_cost_of_a_failure_is_everywhere(run: Run) -> None:
    """On the event of the call, and in what the counters are told; the job has no record of it."""
    error = UpstreamUnavailable("the model looped", maybe_billed=True)
    error.usage = USAGE
    back = await run(error)
    assert isinstance(back, Release)
    event = orjson.loads(back.attempt_event)
    assert (event["output_total"], event["cost_usd"], event["cost_source"]) == (2_000, 0.01125, "computed")
    assert struct.unpack_from(">qqqqq", back.shown)[4] == 11_250


async def test_unknown_cost_is_told_as_unknown(run: Run) -> None:
    """Never as 0."""
    done = await run(answer(NO_USAGE))
    assert isinstance(done, Outcome)
    assert orjson.loads(done.value)["chatq"]["cost_usd"] is None
    assert struct.unpack_from(">qqqqq", done.shown)[4] == -1
