"""What is usual for a model, as far as answers have taught it."""

from __future__ import annotations

import json

import pytest

from shared.job import Candidate
from shared.store import keys, usual
from shared.store.usual import UsualCall, UsualCalls

from .conftest import Bench

CANDIDATE = Candidate("p", "v/m")


def learn(bench: Bench, **state: object) -> None:
    bench.raw.set(keys.scope("model:account/v/m"), json.dumps(state), ex=60)


def calls(bench: Bench) -> UsualCalls:
    return UsualCalls(bench.store, {"p": "account"})


async def test_learned_sizes_are_read(bench: Bench) -> None:
    """Of the account's model, wherever it is called."""
    learn(bench, output_mean=120.5, output_dev=30.2, prompt_ratio=1.25, usual_ms=2500, breaker="open")
    assert await calls(bench).of(CANDIDATE) == UsualCall(120.5, 30.2, 1.25, 2.5)


async def test_nothing_learned_is_told(bench: Bench) -> None:
    assert await calls(bench).of(CANDIDATE) == UsualCall(None, 0.0, 1.0, None)


@pytest.mark.parametrize("value", [-1, "7", None, True, [], 1e300])
async def test_broken_state_is_nothing_learned(bench: Bench, value: object) -> None:
    """Anybody can write to Redis."""
    learn(bench, output_mean=value, output_dev=value, prompt_ratio=value, usual_ms=value)
    assert await calls(bench).of(CANDIDATE) == UsualCall()
    bench.raw.delete(keys.scope("model:account/v/m"))
    bench.raw.hset(keys.scope("model:account/v/m"), "a", "b")
    bench.raw.expire(keys.scope("model:account/v/m"), 60)
    assert await calls(bench).of(CANDIDATE) == UsualCall()


async def test_figures_are_read_again_after_a_while(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And kept meanwhile: a run asks for every line."""
    reader = calls(bench)
    await reader.of(CANDIDATE)
    learn(bench, output_mean=10)
    assert (await reader.of(CANDIDATE)).output_tokens is None
    monkeypatch.setattr(usual, "REFRESH_S", 0.0)
    assert (await reader.of(CANDIDATE)).output_tokens == 10


@pytest.mark.parametrize(
    ("learned", "cap", "tokens"),
    [
        (UsualCall(), None, (256, 1024)),
        (UsualCall(), 100, (100, 100)),
        (UsualCall(), 5000, (256, 5000)),
        (UsualCall(200, 50), None, (200, 300)),
        (UsualCall(200, 50), 1000, (200, 1000)),
        (UsualCall(0.2, 0), None, (1, 1)),
    ],
)
def test_size_of_an_answer(learned: UsualCall, cap: int | None, tokens: tuple[int, int]) -> None:
    """The usual one, and one that few exceed; a cap is that where it is stated."""
    assert learned.output(cap) == tokens


def test_prompt_is_counted_as_the_provider_does() -> None:
    assert [UsualCall(prompt_ratio=1.5).prompt(100), UsualCall(prompt_ratio=0.02).prompt(3)] == [150, 1]
