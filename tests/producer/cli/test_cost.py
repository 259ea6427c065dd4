"""`chatq cost`: what real calls cost, and what the sums cover."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import redis
from click.testing import CliRunner, Result

from producer.cli.context import CliContext
from producer.cli.cost import cost
from shared.settings import RedisSettings
from shared.store.connect import Store
from shared.store.costs import CostLog
from tests.support import RedisServer

RunCost = Callable[..., Result]

HOUR_MS = 3_600_000


@pytest.fixture
def raw(redis_server: RedisServer, redis_url: str) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def run_cost(redis_url: str) -> RunCost:
    def run(*args: str, **env: str) -> Result:
        context = CliContext(env={"HOME": "/nowhere", "CHATQ_REDIS_URL": redis_url, **env})
        return CliRunner().invoke(cost, args, obj=context)

    return run


def add(raw: redis.Redis, usd: float | None, *, hours_ago: float = 0, **fields: Any) -> None:
    """A call."""
    event = {
        "type": "attempt", "job": "j", "provider": "openrouter", "model": "v/m", "client": "alice",
        "maybe_billed": True, "input_total": 100, "input_cached": 40, "output_total": 20, "cost_usd": usd,
        "cost_source": "no_price" if usd is None else "computed", **fields,
    }  # fmt: skip
    entry_id = f"{int(time.time() * 1000 - hours_ago * HOUR_MS)}-*" if hours_ago else "*"
    raw.xadd("chatq:events", {"attempt": orjson.dumps(event)}, id=entry_id)


def fold(redis_url: str) -> None:
    """Add the events up by day, as workers do."""

    async def run() -> None:
        store = await Store.open(redis_url, RedisSettings())
        await CostLog(store).fold()
        await store.close()

    asyncio.run(run())


def test_costs_add_up_by_model(run_cost: RunCost, raw: redis.Redis) -> None:
    """Exactly; the dearest first; unknown with the reason, and what is free said as such."""
    add(raw, None, model="odd")
    for _ in range(10):
        add(raw, 0.1)
    add(raw, 0, provider="ollama", model="m", cost_source="local")
    found = json.loads(run_cost("--json").stdout)
    assert found["rows"][0] == {
        "model": "openrouter/v/m", "calls": 10, "input_tokens": 1000, "cached_tokens": 400, "output_tokens": 200,
        "cost_usd": 1.0, "cost_unknown": 0, "calls_by_basis": {"computed": 10},
    }  # fmt: skip
    assert [(row["model"], row["cost_usd"], row["calls_by_basis"]) for row in found["rows"][1:]] == [
        ("ollama/m", 0.0, {"local": 1}), ("openrouter/odd", None, {"no_price": 1}),
    ]  # fmt: skip
    assert (found["total"]["calls"], found["total"]["cost_usd"], found["total"]["cost_unknown"]) == (
        12,
        1.0,
        1,
    )


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("client", ["bob", "alice"]), ("source", ["nightly", "-"]), ("batch", ["b1", "-"]),
        ("provider", ["kimi", "openrouter"]), ("day", [datetime.now(UTC).date().isoformat()]),
    ],
)  # fmt: skip
def test_costs_add_up_by(by: str, names: list[str], run_cost: RunCost, raw: redis.Redis) -> None:
    """Whatever one asks by."""
    add(raw, 1.0)
    add(raw, 2.0, client="bob", source="nightly", batch="b1", provider="kimi")
    found = json.loads(run_cost("--by", by, "--json").stdout)
    assert [row[by] for row in found["rows"]] == names


def test_people_see_how_a_cost_is_known(run_cost: RunCost, raw: redis.Redis) -> None:
    add(raw, 1.5)
    add(raw, None)
    add(raw, None, cost_source="no_usage", client="bob\x1b[2J")
    add(raw, 0, provider="kimi", cost_source="subscription")
    lines = run_cost().stdout.splitlines()
    assert lines[1].split("  ")[0] == "openrouter/v/m"
    assert "$1.5000 (unknown for 2)" in lines[1]
    assert "1 computed; unknown: 1 without a price, 1 without a count of tokens" in lines[1]
    assert "1 in a subscription" in lines[2]
    assert lines[3].startswith("total")
    assert lines[-1].startswith("calls since ")
    assert "\\x1b[2J" in run_cost("--by", "client").stdout


def test_failed_calls_that_are_not_billed_cost_nothing(run_cost: RunCost, raw: redis.Redis) -> None:
    add(raw, None, maybe_billed=False, cost_source=None, error="rate_limited")
    found = json.loads(run_cost("--json").stdout)["total"]
    assert (found["calls"], found["cost_usd"], found["cost_unknown"]) == (1, None, 0)
    assert "nothing billed" in run_cost().stdout


def test_no_calls_is_no_error(run_cost: RunCost) -> None:
    result = run_cost()
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "no calls")


def test_since_leaves_older_calls_out(run_cost: RunCost, raw: redis.Redis) -> None:
    """To the moment, as long as the stream reaches back far enough."""
    add(raw, 1.0, hours_ago=3)
    add(raw, 2.0, hours_ago=1)
    found = json.loads(run_cost("--since", "2h", "--json").stdout)
    assert (found["total"]["cost_usd"], found["period"]["is_whole_days"], found["period"]["is_complete"]) == (
        2.0,
        False,
        True,
    )


def test_older_days_come_from_their_sums(run_cost: RunCost, raw: redis.Redis, redis_url: str) -> None:
    """Where events were dropped meanwhile; the period says so."""
    add(raw, 1.0, hours_ago=30)
    add(raw, 2.0, hours_ago=29)
    fold(redis_url)
    raw.xtrim("chatq:events", maxlen=1, approximate=False)
    add(raw, 4.0)
    result = run_cost("--since", "2d", "--json", CHATQ_TELEMETRY__STREAM_MAXLEN="2")
    found = json.loads(result.stdout)
    assert found["total"]["cost_usd"] == 7.0
    assert (found["period"]["is_whole_days"], found["period"]["is_complete"], found["period"]["gaps"]) == (
        True,
        True,
        0,
    )
    assert "00:00 UTC, by whole days" in found["period"]["note"]


def test_calls_that_nobody_added_up_are_missed(run_cost: RunCost, raw: redis.Redis) -> None:
    """The sums say since when they are."""
    for _ in range(5):
        add(raw, 1.0)
    raw.xtrim("chatq:events", maxlen=3, approximate=False)
    found = json.loads(run_cost("--json", CHATQ_TELEMETRY__STREAM_MAXLEN="3").stdout)
    assert (found["total"]["cost_usd"], found["period"]["is_complete"]) == (3.0, False)
    assert "older events were dropped" in found["period"]["note"]


def test_gaps_are_told(run_cost: RunCost, raw: redis.Redis, redis_url: str) -> None:
    """A stream too short for its workers."""
    add(raw, 1.0, hours_ago=30)
    fold(redis_url)
    raw.xtrim("chatq:events", maxlen=0, approximate=False)
    add(raw, 2.0)
    fold(redis_url)
    found = json.loads(run_cost("--since", "2d", "--json", CHATQ_TELEMETRY__STREAM_MAXLEN="1").stdout)
    assert (found["total"]["cost_usd"], found["period"]["gaps"], found["period"]["is_complete"]) == (
        3.0,
        1,
        False,
    )
    assert "raise [telemetry] stream_maxlen" in found["period"]["note"]


def test_telemetry_that_is_off_is_told(run_cost: RunCost) -> None:
    assert "telemetry is off" in run_cost(CHATQ_TELEMETRY__ENABLED="false").stderr
