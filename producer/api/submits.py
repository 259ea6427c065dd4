"""Submits of many callers in few round trips."""

from __future__ import annotations

from producer.client import Producer
from producer.grouped import Grouped
from producer.submission import Submission
from producer.wait import Wait

MOST = 200
"""Submissions handed in together: one that is waited for should not wait for a thousand others."""


class Submits:
    """Hands submissions of concurrent callers in together; alone, one goes at once."""

    def __init__(self, producer: Producer) -> None:
        self._submit = Grouped[Submission, str](producer.submit_many, most=MOST)
        self._hold = Grouped[Submission, Wait](producer.answers.hold_many, most=MOST)

    async def submit(self, submission: Submission) -> str:
        """Accept one job; returns its id. A caller that is cancelled may have its job made all the same.

        Raises:
            JobRejected, StoreError: As `Producer.submit`.
        """
        return await self._submit(submission)

    async def hold(self, submission: Submission) -> Wait:
        """Accept one job whose end the caller waits for (`Answers.finish`); as `submit`."""
        return await self._hold(submission)

    async def stop(self) -> None:
        """Hand nothing more in."""
        await self._submit.stop()
        await self._hold.stop()
