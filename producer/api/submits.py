"""Submits of many callers in few round trips: those that come while Redis has the ones before go together."""

from __future__ import annotations

import asyncio

from producer.client import Producer
from producer.submission import Submission
from shared.errors import ChatqError, JobRejected

MOST = 200
"""Submissions handed in together: one that is waited for should not wait for a thousand others."""

Waiting = tuple[Submission, "asyncio.Future[str]"]


class Submits:
    """Hands submissions of concurrent callers in together; alone, one goes at once."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._waiting: list[Waiting] = []
        self._has_some = asyncio.Event()

    def start(self) -> asyncio.Task[None]:
        """Begin to hand in."""
        return asyncio.create_task(self._run(), name="submits")

    async def submit(self, submission: Submission) -> str:
        """Accept one job; returns its id.

        Raises:
            JobRejected, StoreError: As `Producer.submit`.
        """
        accepted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, accepted))
        self._has_some.set()
        return await accepted

    async def _run(self) -> None:
        while True:
            await self._has_some.wait()
            group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            if not self._waiting:
                self._has_some.clear()
            await self._hand_in(group)

    async def _hand_in(self, group: list[Waiting]) -> None:
        try:
            results = await self._producer.submit_many(submission for submission, _ in group)
        except ChatqError as exc:
            for _, accepted in group:
                if not accepted.done():
                    accepted.set_exception(exc)
            return
        for (_, accepted), result in zip(group, results, strict=True):
            if accepted.done():  # its caller has gone; the job is in all the same
                continue
            if isinstance(result, JobRejected):
                accepted.set_exception(result)
            else:
                accepted.set_result(result)
