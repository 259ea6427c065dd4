"""Grouped calls: alone at once, many together, and nobody is left waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from producer.grouped import Grouped


class Store:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def ask(self, group: Sequence[int]) -> list[str | Exception]:
        self.groups.append(list(group))
        await self.may_answer.wait()
        if 13 in group:
            raise ConnectionError("gone")
        return [ValueError(one) if one < 0 else str(one) for one in group]


@pytest.fixture
def store() -> Store:
    return Store()


async def test_what_comes_meanwhile_goes_together(store: Store) -> None:
    """In the order in which it came, and in groups of bounded size."""
    asked = Grouped[int, str](store.ask, most=3)
    store.may_answer.clear()
    first = asyncio.create_task(asked(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(asked(number)) for number in range(1, 5)]
    await asyncio.sleep(0)
    store.may_answer.set()
    assert await asyncio.gather(first, *rest) == ["0", "1", "2", "3", "4"]
    assert store.groups == [[0], [1, 2, 3], [4]]


async def test_it_goes_on_after_a_rest(store: Store) -> None:
    asked = Grouped[int, str](store.ask, most=3)
    assert [await asked(1), await asked(2)] == ["1", "2"]
    assert store.groups == [[1], [2]]


async def test_error_is_its_own_callers_or_the_whole_groups(store: Store) -> None:
    asked = Grouped[int, str](store.ask, most=3)
    results = await asyncio.gather(asked(1), asked(-1), return_exceptions=True)
    assert (results[0], type(results[1])) == ("1", ValueError)
    both = await asyncio.gather(asked(13), asked(1), return_exceptions=True)
    assert [type(one) for one in both] == [ConnectionError, ConnectionError]
    assert await asked(7) == "7"


async def test_caller_that_gives_up_does_not_disturb_others(store: Store) -> None:
    asked = Grouped[int, str](store.ask, most=3)
    store.may_answer.clear()
    one, other = asyncio.create_task(asked(1)), asyncio.create_task(asked(2))
    await asyncio.sleep(0)
    one.cancel()
    store.may_answer.set()
    assert await other == "2"
    assert one.cancelled()


async def test_stop_leaves_nobody_waiting(store: Store) -> None:
    asked = Grouped[int, str](store.ask, most=1)
    store.may_answer.clear()
    waiting = [asyncio.create_task(asked(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    await asked.stop()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.gather(*waiting)
    assert all(task.cancelled() for task in waiting)
