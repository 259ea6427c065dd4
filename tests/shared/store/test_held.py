"""Why a job waited, as its grant tells it: the limit or closure that held it back last."""

from __future__ import annotations

import pytest

from shared.job import WaitReason
from shared.store.call_result import Blame
from shared.store.grants import Held
from tests.shared.store.conftest import Bench


async def held_by(bench: Bench) -> dict[str, Held | None]:
    return {grant.job_id: grant.held_by for grant in await bench.claim()}


@pytest.mark.parametrize(
    ("scope", "limits", "reason"),
    [
        ("account:p", {"concurrency": 1}, WaitReason.CONCURRENCY),
        ("model:p/m", {"concurrency": 1}, WaitReason.CONCURRENCY),
        ("client:default", {"concurrency": 1}, WaitReason.CONCURRENCY),
        ("account:p", {"rpm": 60}, WaitReason.RATE_LIMITED),
        ("model:p/m", {"rpm": 60}, WaitReason.RATE_LIMITED),
        ("client:default", {"rpm": 60}, WaitReason.RATE_LIMITED),
    ],
)
async def test_limit_that_held_a_job_back_is_named(
    bench: Bench, scope: str, limits: dict[str, float], reason: WaitReason
) -> None:
    """With whose it is; the first job met none, and the one that came after the hold met none either."""
    await bench.limits.set(scope, limits)
    await bench.submit("first", "second")
    (first,) = await bench.claim()
    assert first.held_by is None
    assert await bench.claim() == []
    await bench.end(first)
    bench.let_time_pass(2)
    assert await held_by(bench) == {"second": Held(scope.partition(":")[0], reason)}
    await bench.limits.set(scope, {"rpm": 0, "concurrency": 0})
    await bench.submit("late")
    assert await held_by(bench) == {"late": None}


@pytest.mark.parametrize("scope", ["account", "model"])
async def test_closure_that_held_a_job_back_is_named(bench: Bench, scope: str) -> None:
    """A cooldown; of the job that met the limit, too."""
    await bench.limits.set("model:p/m", {"concurrency": 9})
    await bench.submit("first", "second")
    (first,) = await bench.claim(1)
    await bench.limit(first, Blame(scope, "rate", wait_s=2))  # type: ignore[arg-type]
    assert await bench.claim() == []
    bench.let_time_pass(60)
    found = await held_by(bench)
    assert found and set(found.values()) == {Held(scope, WaitReason.COOLDOWN)}


async def test_job_of_another_model_was_not_held_by_it(bench: Bench) -> None:
    """A lot's reason is its own."""
    await bench.limits.set("model:p/slow", {"concurrency": 1})
    await bench.submit("s1", "s2", model="slow")
    (running,) = await bench.claim()
    await bench.submit("other", model="free")
    assert await held_by(bench) == {"other": None}
    await bench.end(running)
    assert await held_by(bench) == {"s2": Held("model", WaitReason.CONCURRENCY)}


@pytest.mark.parametrize(
    "said", ["x", "account_rate", "account_rate -1", "no such thing 9", "a_b 99999999999999999999"]
)
async def test_word_of_others_making_is_no_reason(bench: Bench, said: str) -> None:
    """Anybody can write to Redis; what is shown stays within chatq's words."""
    await bench.submit("a")
    bench.raw.hset("chatq:held:p", "", said)
    bench.raw.expire("chatq:held:p", 60)
    assert await held_by(bench) == {"a": None}


async def test_key_of_another_type_costs_nothing(bench: Bench) -> None:
    """The claim goes on without reasons."""
    await bench.limits.set("account:p", {"concurrency": 1})
    await bench.submit("a", "b")
    bench.raw.set("chatq:held:p", "x", ex=60)
    (first,) = await bench.claim()
    assert await bench.claim() == []
    await bench.end(first)
    assert await held_by(bench) == {"b": None}
