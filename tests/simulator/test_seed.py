"""The same seed gives the same behaviour, in whatever order calls arrive."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from simulator import Simulator
from simulator.dice import Dice
from tests.simulator.calls import answer_text, chat
from tests.simulator.conftest import StartSimulator

MIX = {"500": 0.3, "malformed": 0.2, "429": 0.2}
USERS = [f"question {number}" for number in range(20)]


async def fates(
    client: httpx.AsyncClient, simulator: Simulator, users: list[str]
) -> dict[tuple[Any, int], Any]:
    """The fault of every call by request and occurrence, each request sent twice, four at a time."""
    for _ in range(2):
        for start in range(0, len(users), 4):
            await asyncio.gather(
                *(chat(client, simulator.url, "openai", user=user) for user in users[start : start + 4])
            )
    seen: dict[str | None, int] = {}
    found = {}
    for record in simulator.calls:
        seen[record.digest] = seen.get(record.digest, 0) + 1
        found[record.digest, seen[record.digest]] = record.fault
    return found


async def test_faults_repeat_in_any_order(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """Reversing the requests changes nothing, and the mix is really mixed."""
    one, other = await start(seed=7, faults=MIX), await start(seed=7, faults=MIX)
    forward = await fates(client, one, USERS)
    assert forward == await fates(client, other, USERS[::-1])
    assert len(set(forward.values())) == 4


async def test_another_seed_behaves_differently(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """The seed is what decides."""
    one, other = await start(seed=1, faults=MIX), await start(seed=2, faults=MIX)
    assert await fates(client, one, USERS) != await fates(client, other, USERS)


async def test_answer_is_same_for_every_call(start: StartSimulator, client: httpx.AsyncClient) -> None:
    """A retried request gets the text, and costs the tokens, of its first call."""
    simulator = await start(seed=3)
    texts = {answer_text("openai", (await chat(client, simulator.url, "openai")).json()) for _ in range(3)}
    assert len(texts) == 1


def test_dice_are_uniform_and_independent() -> None:
    """Means lie near one half, and the two draws of a roll do not follow each other."""
    rolls = [Dice(5).roll(f"{number:016x}", 0) for number in range(2000)]
    firsts, seconds = zip(*rolls, strict=True)
    assert 0.47 < sum(firsts) / 2000 < 0.53
    assert 0.47 < sum(seconds) / 2000 < 0.53
    assert 0.45 < sum(first < second for first, second in rolls) / 2000 < 0.55
