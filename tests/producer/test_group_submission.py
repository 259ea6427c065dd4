"""Submissions to groups that go by the state of the fleet: where the jobs of a burst end up."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from producer import Lane, Producer, Submission
from shared.errors import InvalidRequest
from shared.providers import ProviderRegistry
from shared.store.limits import Field
from tests.conftest import MakeSettings


def chat(model: str, text: str = "hi") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8}


async def make_least_busy(producer: Producer, **rpm: int) -> None:
    """A group over one model of each of these providers."""
    targets = [f"{provider}/m" for provider in rpm]
    await producer.groups.set("free", {"strategy": "least_busy", "targets": targets})
    for provider, limit in rpm.items():
        await producer.limits.set(provider, {Field.RPM: limit})


async def submitted(producer: Producer, count: int, **options: Any) -> Counter[str]:
    """Where so many jobs go, by provider."""
    ids = await producer.submit_many([Submission(chat("free", f"{n}"), **options) for n in range(count)])
    jobs = await producer.get_many([one for one in ids if isinstance(one, str)])
    return Counter(job.candidates[0].provider for job in jobs if job is not None)


async def test_burst_is_spread_over_equal_targets(producer: Producer) -> None:
    """Three thousand jobs in one call, of which Redis shows little before the last one is on its way."""
    await make_least_busy(producer, openrouter=600, ollama=600)
    spread = await submitted(producer, 3_000)
    assert spread["openrouter"] + spread["ollama"] == 3_000
    assert spread["openrouter"] == pytest.approx(1_500, abs=150)


async def test_single_submits_are_spread_as_well(producer: Producer) -> None:
    """Callers that come at the same time see what each other has sent."""
    await make_least_busy(producer, openrouter=600, ollama=600)
    ids = await asyncio.gather(*(producer.submit(chat("free", f"{n}")) for n in range(200)))
    jobs = await producer.get_many(ids)
    spread = Counter(job.candidates[0].provider for job in jobs if job is not None)
    assert spread["openrouter"] == pytest.approx(100, abs=20)


async def test_batch_sees_its_own_backlog(producer: Producer) -> None:
    """Which does not stand in the way of what is more urgent."""
    await make_least_busy(producer, openrouter=600, ollama=60)
    await producer.submit_many(
        [Submission(chat("openrouter/m", f"{n}"), lane=Lane.BATCH) for n in range(500)]
    )
    await producer.submit_many([Submission(chat("ollama/m", f"{n}")) for n in range(5)])
    assert await submitted(producer, 5, lane=Lane.BATCH) == {"ollama": 5}
    assert await submitted(producer, 5) == {"openrouter": 5}
    request = chat("free")
    assert (await producer.route(request, lane=Lane.BATCH)).candidates[0].provider == "ollama"
    assert (await producer.route(request, lane=Lane.DEFAULT)).candidates[0].provider == "openrouter"


@pytest.mark.parametrize("lane", ["bogus", None, []])
async def test_unknown_lane_is_rejected_for_a_group_too(producer: Producer, lane: Any) -> None:
    """Its neighbour goes on."""
    await make_least_busy(producer, ollama=600)
    bad, good = await producer.submit_many([Submission(chat("free"), lane=lane), Submission(chat("free"))])
    assert isinstance(bad, InvalidRequest)
    assert bad.field == "lane"
    assert isinstance(good, str)


async def test_burst_is_spread_on_each_server(
    any_redis_url: str, make_settings: MakeSettings, registry: ProviderRegistry
) -> None:
    """Of any version."""
    settings = make_settings(CHATQ_REDIS_URL=any_redis_url)
    async with Producer.open(settings, registry=registry) as producer:
        await make_least_busy(producer, openrouter=600, ollama=300)
        spread = await submitted(producer, 300)
    assert spread["openrouter"] == pytest.approx(200, abs=20)
