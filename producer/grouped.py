"""Grouped calls: what many callers ask at the same time goes to the store together.

Alone, a question goes at once; those that come while one is under way wait for its answer and go as one group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.background import end_tasks

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Grouped(Generic[Asked, Answer]):
    """Asks for many callers at once.

    A caller that is cancelled takes nothing back: its question may be under way.

    Args:
        ask: Answers a group, an answer or an error each, in order; what it raises is raised for all of them.
        most: Questions a group.
    """

    def __init__(
        self, ask: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer | Exception]]], *, most: int
    ) -> None:
        self._ask = ask
        self._most = most
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._asked: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self, asked: Asked) -> Answer:
        """Ask one.

        Raises:
            Exception: As `ask` raises or answers.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all(), name="grouped")
        return await answer

    async def stop(self) -> None:
        """Ask nothing more; who still waits is cancelled."""
        if self._asking is not None:
            await end_tasks(self._asking)
        for _, answer in (*self._asked, *self._waiting):
            answer.cancel()

    async def _ask_all(self) -> None:
        while self._waiting:
            self._asked, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            await self._ask_group(self._asked)
        self._asked, self._asking = [], None

    async def _ask_group(self, group: Sequence[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        try:
            found = await self._ask([asked for asked, _ in group])
        except Exception as exc:  # whatever it is, it is the callers' to hear of
            found = [exc] * len(group)
        for (_, answer), one in zip(group, found, strict=True):
            if answer.done():  # its caller has gone
                continue
            if isinstance(one, Exception):
                answer.set_exception(one)
            else:
                answer.set_result(one)
