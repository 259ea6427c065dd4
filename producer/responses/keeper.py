"""The keeper: copies the outcomes of responses out of their jobs, which live shorter than responses do.

Who sees a response end hands its outcome over. One that nobody waits for or looks at is looked after here, and so
is what a killed process had not written yet. Any number of keepers work beside each other: the first copy stands.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from producer.client import Producer
from producer.responses.book import as_object
from producer.responses.ids import job_id_of
from shared.errors import StoreError
from shared.store.responses import ResponseStore, StoredResponse

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
"""Interval of looks for responses that ended unseen. Results of jobs live for a day, if nothing else is set."""

MOST = 100
"""Responses looked at together."""

MAX_WAITING = 1000
"""Outcomes that wait for Redis; further ones are left to a look: they stand in their jobs."""


class ResponseKeeper:
    """Keeps outcomes.

    Args:
        look_every_s: Interval of looks, in seconds.
    """

    def __init__(
        self, store: ResponseStore, producer: Producer, *, look_every_s: float = LOOK_EVERY_S
    ) -> None:
        self._store = store
        self._producer = producer
        self._look_every_s = look_every_s
        self._ended: asyncio.Queue[tuple[StoredResponse, dict[str, Any]]] = asyncio.Queue(MAX_WAITING)

    def start(self) -> list[asyncio.Task[None]]:
        """Begin to keep."""
        return [
            asyncio.create_task(self._write(), name="response-outcomes"),
            asyncio.create_task(self._look(), name="response-looks"),
        ]

    def keep(self, response: StoredResponse, outcome: dict[str, Any]) -> None:
        """Have the outcome of a response written down soon."""
        if not self._ended.full():
            self._ended.put_nowait((response, outcome))

    async def _write(self) -> None:
        while True:
            response, outcome = await self._ended.get()
            try:
                await asyncio.shield(self._store.end(response, outcome))
            except StoreError as exc:
                log.warning("the outcome of response %s is kept later: %s", response.id, exc)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            try:
                while len(await self.look()) == MOST:
                    continue
            except StoreError as exc:
                log.warning("responses are looked after later: %s", exc)

    async def look(self) -> list[str]:
        """Keep the outcomes of some responses that ended unseen; returns those that were due for a look.

        Raises:
            StoreError: No answer from Redis.
        """
        due = await self._store.due(most=MOST)
        found = [response for id in due if (response := await self._store.read(id)) is not None]
        jobs = await self._producer.get_many([job_id_of(response.id) for response in found])
        for response, job in zip(found, jobs, strict=True):
            if job is None:
                await self._store.set_aside(response.id)
            elif job.state.is_terminal:
                await self._store.end(response, as_object(response, job))
        return due
