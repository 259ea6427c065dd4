"""The state of the fleet as numbers."""

from __future__ import annotations

import orjson
import pytest

from shared.providers import Provider, ProviderRegistry
from shared.store.gauges import FleetGauges, read_gauges

from .conftest import Bench


@pytest.fixture
def providers(registry: ProviderRegistry) -> dict[str, Provider]:
    """One, under the name that the bench's jobs have."""
    return {"p": Provider(**{**_fields(registry.get("ollama")), "name": "p", "account": "p"})}


def _fields(provider: Provider) -> dict[str, object]:
    return {name: getattr(provider, name) for name in Provider.__dataclass_fields__}


def lane(fleet: FleetGauges, name: str) -> tuple[int, int]:
    (found,) = [(each.waiting, each.delayed) for each in fleet.lanes if each.lane == name]
    return found


async def test_queues_are_counted(bench: Bench, providers: dict[str, Provider]) -> None:
    """Waiting and delayed by lane, running by provider; an empty lane has no age."""
    await bench.submit("a", "b", "c")
    await bench.submit("d", queue="p.batch")
    (grant,) = await bench.claim(1)
    await bench.give_back(grant, delay_ms=60_000)
    await bench.claim(1)
    fleet = await read_gauges(bench.store, providers)
    assert sum(each.waiting for each in fleet.lanes) == 2
    assert sum(each.delayed for each in fleet.lanes) == 1
    assert fleet.providers["p"].in_flight == 1
    assert fleet.totals["accepted"] == 4
    assert all(each.oldest_age_s == 0 for each in fleet.lanes if not each.waiting)


async def test_age_is_that_of_the_job_in_front(bench: Bench, providers: dict[str, Provider]) -> None:
    """By Redis's clock."""
    await bench.submit("a")
    bench.raw.hset("rq:job:a", "created_at", "2025-01-01T00:00:00.000000Z")
    fleet = await read_gauges(bench.store, providers)
    ages = {each.lane: each.oldest_age_s for each in fleet.lanes}
    assert ages["default"] > 86_400
    assert ages["batch"] == 0


async def test_limits_show_their_use(bench: Bench, providers: dict[str, Provider]) -> None:
    """Of the account, and of a model that has limits of its own; not of clients, nor of any other model."""
    bench.raw.hset("chatq:limits", "account:p", orjson.dumps({"set": {"rpm": 60, "concurrency": 4}}))
    bench.raw.hset("chatq:limits", "model:p/m", orjson.dumps({"set": {"concurrency": 2}}))
    bench.raw.hset("chatq:limits", "model:other/m", orjson.dumps({"set": {"concurrency": 2}}))
    bench.raw.hset("chatq:limits", "client:default", orjson.dumps({"set": {"concurrency": 9}}))
    await bench.submit("a")
    await bench.claim(1)
    fleet = await read_gauges(bench.store, providers)
    use = {scope.name: scope.use for scope in fleet.scopes}
    assert use.keys() == {"provider:p", "account:p", "model:p/m"}
    assert use["account:p"]["concurrency"] == 0.25
    assert 0 < use["account:p"]["requests"] <= 1
    assert use["model:p/m"] == {"concurrency": 0.5}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, 0),
        ({"breaker": "open", "open_until": 1e14}, 2),
        ({"breaker": "open", "open_until": 1}, 1),
        ({"breaker": "half"}, 1),
        ({"breaker": "ramp2"}, 1),
    ],
)
async def test_breaker_has_three_states(
    bench: Bench, providers: dict[str, Provider], state: dict[str, object], expected: int
) -> None:
    """Closed, letting some calls through, open; one whose time is over lets the next through."""
    bench.raw.set("chatq:scope:provider:p", orjson.dumps(state), ex=100)
    fleet = await read_gauges(bench.store, providers)
    assert {scope.name: scope.breaker for scope in fleet.scopes}["provider:p"] == expected


async def test_broken_data_counts_as_absent(bench: Bench, providers: dict[str, Provider]) -> None:
    """A key of another type, a state that is no JSON: the rest is shown."""
    await bench.submit("a")
    bench.raw.set("chatq:scope:account:p", "{", ex=100)
    bench.raw.set("chatq:aside:p.default", "many", ex=100)
    bench.raw.set("rq:scheduled:p.default", "no set", ex=100)
    fleet = await read_gauges(bench.store, providers)
    assert lane(fleet, "default") == (1, 0)
