"""The caller's connection, while a call is made to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from shared.background import end_tasks

Result = TypeVar("Result")


async def until_left(receive: Receive, waited_for: Coroutine[Any, Any, Result]) -> Result | None:
    """Wait for something as long as the caller does; returns None when that one has gone away.

    Args:
        receive: Of a request whose body has been read, or that has none.

    Raises:
        Exception: As what is waited for.
    """
    waiting = asyncio.create_task(waited_for)
    leaving = asyncio.create_task(disconnected(receive))
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        return await waiting if waiting.done() else None
    finally:
        await end_tasks(waiting, leaving)


async def disconnected(receive: Receive) -> None:
    """Wait until the caller has gone away, or its call is answered.

    Args:
        receive: Of a request whose body has been read, or that has none.
    """
    while (await receive())["type"] != "http.disconnect":
        continue
