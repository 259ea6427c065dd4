"""The budget: what a run may still spend, of its own limit and of its client's day."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from producer.batch.line_cost import LineCost, cost_of
from producer.job_cost import JobCost

NOTHING_YET = Decimal(0)


@dataclass(frozen=True, slots=True)
class ClientBudget:
    """What a client may spend in a UTC day, all its work together.

    Attributes:
        spent: Looks up what its calls have cost today, as far as known.
    """

    client: str
    usd: Decimal
    spent: Callable[[], Awaitable[Decimal]]


class Budget:
    """Money that is spent, reserved for what is in flight, and left.

    A line is let in when what was spent, what is reserved and its own estimate fit. The estimates are high ones, so
    that is mostly settled for less, and later lines fit again. The budget is `reached` when a line does not fit
    though nothing is reserved, or when more was spent than there was.

    Args:
        max_cost_usd: What the run may cost in all; None = no limit.
        spent: What its lines have cost before, in earlier runs on the same output.
        client: The client's budget; None = no limit.
    """

    def __init__(
        self, *, max_cost_usd: Decimal | None, spent: LineCost, client: ClientBudget | None = None
    ) -> None:
        self.max_cost_usd = max_cost_usd
        self.client = client
        self.reached = asyncio.Event()
        self.why = ""
        """Which limit was reached, for people."""
        self._spent_usd = spent.counted_usd
        self._reserved: dict[str, Decimal] = {}
        self._reserved_usd = NOTHING_YET
        self._clients_usd = NOTHING_YET
        self._seen_usd = self._spent_usd
        self._freed = asyncio.Event()

    @property
    def counted_usd(self) -> Decimal:
        """What the run's lines have cost, calls of unknown cost at their estimate."""
        return self._spent_usd

    async def look_at_client(self) -> None:
        """Take in what the client's other work has cost since.

        Raises:
            StoreError: No answer from Redis.
        """
        if self.client is not None:
            # What settles while we look may be counted twice, until the next look.
            seen_usd = self._spent_usd
            self._clients_usd = await self.client.spent()
            self._seen_usd = seen_usd
            self._check()

    def reserve(self, job_id: str, usd: Decimal) -> bool:
        """Reserve for one line; False if it does not fit. One that cannot fit later either reaches the budget."""
        if self.reached.is_set():
            return False
        if job_id in self._reserved:
            return True
        if (why := self._excess(usd)) is not None:
            if self._reserved_usd:
                self._freed.clear()  # here, not where somebody waits: what is freed on the way there counts
            else:
                self._stop(why)
            return False
        self.book(job_id, usd)
        return True

    def book(self, job_id: str, usd: Decimal) -> None:
        """Reserve for a job that is in Redis already, whether it fits or not."""
        if job_id not in self._reserved:
            self._reserved[job_id] = usd
            self._reserved_usd += usd

    def release(self, job_id: str) -> Decimal:
        """Give a reservation back; returns what it was."""
        usd = self._reserved.pop(job_id, NOTHING_YET)
        self._reserved_usd -= usd
        self._freed.set()
        return usd

    def settle(self, job_id: str, cost: JobCost) -> LineCost:
        """Replace a reservation by what the job cost; a call of unknown cost counts as the reservation did."""
        settled = cost_of(cost, self.release(job_id))
        self._spent_usd += settled.counted_usd
        self._check()
        return settled

    async def changed(self) -> None:
        """Wait until something was settled or given back since a line did not fit, or the budget was reached."""
        await self._freed.wait()

    def _check(self) -> None:
        """More may have been spent than was estimated, or by others."""
        spent_by_client = self._clients_usd + self._spent_usd - self._seen_usd
        if self.max_cost_usd is not None and self._spent_usd > self.max_cost_usd:
            self._stop(self._run_limit())
        elif self.client is not None and spent_by_client > self.client.usd:
            self._stop(self._client_limit(self.client))

    def _excess(self, usd: Decimal) -> str | None:
        """Which limit so much more would pass."""
        if not usd:  # own hardware, flat plans: there is nothing to spend
            return None
        wanted_usd = self._reserved_usd + usd
        if self.max_cost_usd is not None and self._spent_usd + wanted_usd > self.max_cost_usd:
            return self._run_limit()
        if self.client is not None:
            own_usd = self._spent_usd - self._seen_usd
            if self._clients_usd + own_usd + wanted_usd > self.client.usd:
                return self._client_limit(self.client)
        return None

    def _run_limit(self) -> str:
        return f"--max-cost {self.max_cost_usd:f} USD is spent"

    def _client_limit(self, client: ClientBudget) -> str:
        return f"the budget of client {client.client}, {client.usd:f} USD a day (UTC), is spent"

    def _stop(self, why: str) -> None:
        if not self.reached.is_set():
            self.why = why
            self.reached.set()
            self._freed.set()
