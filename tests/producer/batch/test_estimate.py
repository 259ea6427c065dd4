"""Estimates of lines."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from producer.batch.estimate import Call, Estimate, Estimator
from producer.submission import Submission
from shared.errors import InvalidRequest, JobRejected, ProviderNotFound
from shared.job import Candidate
from shared.money import MICRO_USD
from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import Settings
from shared.store.usual import UsualCall
from tests.conftest import MakeSettings
from tests.support import KEYS


class Prices:
    """A millionth of a dollar a token; own hardware is free, and one model has no price."""

    def expect(
        self, provider: str, model: str, *, input_tokens: int, output_tokens: int, at: float
    ) -> Decimal | None:
        assert at > 1.7e9
        if provider == "ollama":
            return Decimal(0)
        factor = {"v/odd": None, "v/dear": 10}.get(model, 1)
        return None if factor is None else (input_tokens + output_tokens) * factor * MICRO_USD


async def usual(candidate: Candidate) -> UsualCall:
    return UsualCall(100, 20, 2.0, 1.5)


@pytest.fixture
def estimator(settings: Settings, registry: ProviderRegistry) -> Estimator:
    return Estimator(Prices(), Router.from_settings(settings, registry), settings.jobs, usual)


def line(model: str, **fields: Any) -> Submission:
    return Submission({"model": model, "messages": [{"role": "user", "content": "x" * 400}], **fields})


def only_call(found: Estimate | JobRejected) -> Call:
    assert isinstance(found, Estimate)
    (call,) = found.calls
    assert (found.candidate, found.cost_usd) == (call.candidate, call.cost_usd)
    return call


async def test_line_is_routed_sized_and_priced(estimator: Estimator) -> None:
    """By its first candidate, with what is usual there."""
    call = only_call(await estimator.estimate(line("openrouter/v/m", fallbacks=["openrouter/v/odd"])))
    assert (call.candidate, call.output_tokens) == (Candidate("openrouter", "v/m"), (100, 140))
    assert 200 <= call.input_tokens <= 300
    assert call.duration_s == 1.5
    assert call.cost_usd == ((call.input_tokens + 100) * MICRO_USD, (call.input_tokens + 140) * MICRO_USD)


async def test_cap_is_the_longest_answer(estimator: Estimator) -> None:
    call = only_call(await estimator.estimate(line("openrouter/v/m", max_tokens=40)))
    assert call.output_tokens == (40, 40)


async def test_rating_is_a_call_of_its_own(make_settings: MakeSettings) -> None:
    """Then any target may be chosen: the cost reaches from the cheapest to the dearest."""
    rated = {
        "strategy": "classifier", "targets": ["m", "openrouter/v/m", "openrouter/v/dear"],
        "selector": "openrouter/v/judge",
    }  # fmt: skip
    env = {f"CHATQ_GROUPS__RATED__{name.upper()}": json.dumps(value) for name, value in rated.items()}
    settings = make_settings(**env)
    router = Router.from_settings(settings, ProviderRegistry.from_settings(settings, env=KEYS))
    found = await Estimator(Prices(), router, settings.jobs, usual).estimate(line("rated", max_tokens=40))
    assert isinstance(found, Estimate)
    assert [call.candidate.model for call in found.calls] == ["v/judge", "m"]
    rating, target = found.calls
    assert found.cost_usd is not None
    assert rating.cost_usd is not None
    low, high = (found.cost_usd[end] - rating.cost_usd[end] for end in (0, 1))
    assert (low, high) == (0, 10 * (target.input_tokens + 40) * MICRO_USD)


@pytest.mark.parametrize(("model", "cost"), [("openrouter/v/odd", None), ("m", (Decimal(0), Decimal(0)))])
async def test_no_price_is_not_nothing(estimator: Estimator, model: str, cost: object) -> None:
    """Unknown where there is none, 0 on own hardware."""
    found = await estimator.estimate(line(model))
    assert isinstance(found, Estimate)
    assert found.cost_usd == cost


async def test_line_is_rejected_as_the_producer_would(estimator: Estimator) -> None:
    rejected = [await estimator.estimate(one) for one in (line("m", stream=True), line("kimi/k2"))]
    assert [type(one) for one in rejected] == [InvalidRequest, ProviderNotFound]
