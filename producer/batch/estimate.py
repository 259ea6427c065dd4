"""Estimates: where a line would go, how many tokens it would take, and what that would cost."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import NamedTuple, Protocol

from producer.submission import Submission, asked_models, prepare
from shared.errors import JobRejected
from shared.job import Candidate, Lane
from shared.live_facts import LiveFacts
from shared.routing import Router
from shared.settings import JobSettings
from shared.store.jobs import NewJob
from shared.store.usual import UsualCall


class Prices(Protocol):
    """See `shared.catalogue.Catalogue`."""

    def expect(
        self, provider: str, model: str, *, input_tokens: int, output_tokens: int, at: float
    ) -> Decimal | None:
        """What a call would cost, in USD; None if no price is known."""


Usual = Callable[[Candidate], Awaitable[UsualCall]]
"""What a call to a model is usually like."""


Range = tuple[int, int]
"""Tokens of an answer: the usual number, and one that few answers exceed (`max_tokens` where it is stated)."""


class Call(NamedTuple):
    """One call that a line would take.

    Attributes:
        cost_usd: Of the usual answer, and of a long one; None where no price is known.
        duration_s: How long such a call usually takes; None = no call was seen.
    """

    candidate: Candidate
    input_tokens: int
    output_tokens: Range
    cost_usd: tuple[Decimal, Decimal] | None
    duration_s: float | None


class Estimate(NamedTuple):
    """One line, asked once.

    Attributes:
        calls: To its first candidate; to a selector before that, where one rates the line.
        cost_usd: Of all calls, from the cheapest candidate that a rating may choose to the dearest; None where a
            price is not known.
    """

    calls: tuple[Call, ...]
    cost_usd: tuple[Decimal, Decimal] | None

    @property
    def candidate(self) -> Candidate:
        """Who would answer."""
        return self.calls[-1].candidate


class Estimator:
    """Estimates what submissions would take.

    Args:
        jobs: As the producer has them.
        facts: What groups go by; None = nothing is known of the fleet.
    """

    def __init__(
        self,
        prices: Prices,
        router: Router,
        jobs: JobSettings,
        usual: Usual,
        *,
        facts: LiveFacts | None = None,
    ) -> None:
        self._prices = prices
        self._router = router
        self._jobs = jobs
        self._usual = usual
        self._facts = facts

    async def estimate(self, submission: Submission) -> Estimate | JobRejected:
        """Validate and route as the producer would; a rejection is returned.

        Raises:
            StoreError: No answer from Redis.
        """
        job = await self._prepare(submission)
        if isinstance(job, JobRejected):
            return job
        tokens = job.cost.prompt_tokens, job.cost.output_tokens
        first = await self._call(Candidate(*job.candidates[0][:2]), *tokens)
        # The candidates of a job that is rated state their own tokens; those of the job are the rating's.
        targets = [
            await self._call(Candidate(entry[0], entry[1]), entry[2], entry[3])
            for entry in job.candidates
            if len(entry) == 4
        ]
        if not targets:
            return Estimate((first,), first.cost_usd)
        return Estimate((first, targets[0]), _any_of(first, targets))

    async def _prepare(self, submission: Submission) -> NewJob | JobRejected:
        facts = self._facts
        if facts is None or not any(map(self._router.group_of, asked_models([submission]))):
            return prepare(submission, self._router, self._jobs)
        lane = Lane(submission.lane)
        job = await facts.decide(lambda: prepare(submission, self._router, self._jobs, facts.of(lane)))
        if isinstance(job, NewJob):
            facts.sent(Candidate(*job.candidates[0][:2]), lane)
        return job

    async def _call(self, candidate: Candidate, prompt_tokens: int, cap: int) -> Call:
        usual = await self._usual(candidate)
        input_tokens, output_tokens = usual.prompt(prompt_tokens), usual.output(cap or None)
        at = time.time()

        def cost_of(tokens: int) -> Decimal | None:
            return self._prices.expect(
                candidate.provider, candidate.model, input_tokens=input_tokens, output_tokens=tokens, at=at
            )

        usually, at_most = (cost_of(tokens) for tokens in output_tokens)
        known = None if usually is None or at_most is None else (usually, at_most)
        return Call(candidate, input_tokens, output_tokens, known, usual.duration_s)


def _any_of(rating: Call, targets: list[Call]) -> tuple[Decimal, Decimal] | None:
    """The cost of a rating, and of any one of these after it."""
    costs = [target.cost_usd for target in targets if target.cost_usd is not None]
    if rating.cost_usd is None or len(costs) < len(targets):
        return None
    least, most = min(low for low, _ in costs), max(high for _, high in costs)
    return rating.cost_usd[0] + least, rating.cost_usd[1] + most
