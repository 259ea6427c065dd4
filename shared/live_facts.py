"""What strategies go by, from the fleet and the catalogue: kept in memory, refreshed while somebody asks."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from shared.catalogue import Catalogue
from shared.job import Candidate, Lane
from shared.routing import Facts
from shared.store.candidates import LANES, CandidateState, read_candidates
from shared.store.connect import Store

FRESH_S = 1.0
"""How old what is known may be, in seconds, when it is asked for."""

MOST_FOLLOWED = 500
"""Candidates kept up to date: ten scripts a second. Groups of a fleet have some dozens."""

_BEHIND = {lane: LANES[place:] for place, lane in enumerate(LANES)}
"""Lanes whose jobs one goes before: its own, and those that are less urgent."""

Decision = TypeVar("Decision")


class LiveFacts:
    """What is known of the running fleet, and what was sent since.

    A candidate that is asked for the first time is not known yet; it is from the next refresh on. `decide` does
    what that takes.

    Args:
        closed_s: A candidate that is closed for longer than this, in seconds, takes no calls.
    """

    def __init__(self, store: Store, catalogue: Catalogue, *, closed_s: float) -> None:
        self._store = store
        self._catalogue = catalogue
        self._closed_s = closed_s
        self._known: dict[Candidate, CandidateState | None] = {}
        self._unknown: dict[Candidate, None] = {}
        self._sent: Counter[tuple[Candidate, Lane]] = Counter()
        self._missed = 0
        self._read_at = -math.inf
        self._reading: asyncio.Task[None] | None = None
        self._views = {each: _LaneFacts(self, each) for each in LANES}

    def of(self, lane: Lane) -> Facts:
        """What groups go by for a job in this lane."""
        return self._views[lane]

    async def decide(self, ask: Callable[[], Decision]) -> Decision:
        """Have something decided with what is known now; a second time if that was in the dark.

        Args:
            ask: Decides by `of(...)`; called again when it asked for a candidate that was not known yet.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        await self.refresh()
        missed = self._missed
        decision = ask()
        if self._missed == missed:
            return decision
        await self.refresh()
        return ask()

    def sent(self, candidate: Candidate, lane: Lane) -> None:
        """Count a job that was just sent to a candidate: what is known of its backlog is older."""
        for behind in _BEHIND[lane]:
            self._sent[candidate, behind] += 1

    async def refresh(self) -> None:
        """Bring up to date what is asked for, unless it is. All who need it at the same time wait for one reading.

        Raises:
            StoreUnavailable: No answer from Redis; what was known stays.
        """
        while self._is_stale():
            if self._reading is None:
                self._reading = asyncio.create_task(self._read(), name="facts")
                self._reading.add_done_callback(self._end_reading)
            await asyncio.shield(self._reading)  # others wait for it as well

    def _is_stale(self) -> bool:
        return bool(self._unknown) or time.monotonic() - self._read_at >= FRESH_S

    async def _read(self) -> None:
        wanted, seen = [*self._unknown, *self._known][:MOST_FOLLOWED], self._sent.copy()
        found = await read_candidates(self._store, wanted) if wanted else {}
        self._known = {candidate: found.get(candidate) for candidate in wanted}
        for candidate in wanted:  # what was asked for meanwhile stays asked for
            self._unknown.pop(candidate, None)
        self._sent -= seen  # what was sent meanwhile may not be in it
        self._read_at = time.monotonic()

    def _end_reading(self, reading: asyncio.Task[None]) -> None:
        self._reading = None
        if not reading.cancelled():
            reading.exception()  # seen, also when nobody waits any more

    def state(self, candidate: Candidate) -> CandidateState | None:
        """What was read of a candidate; None = nothing yet, or it is broken."""
        if candidate not in self._known:
            self._missed += 1
            if len(self._unknown) < MOST_FOLLOWED:
                self._unknown[candidate] = None
        return self._known.get(candidate)

    def sent_to(self, candidate: Candidate, lane: Lane) -> int:
        """Jobs sent there since, that go before one in this lane."""
        return self._sent[candidate, lane]

    def takes_no_calls(self, state: CandidateState) -> bool:
        """Whether waiting for it is worse than going elsewhere."""
        return state.is_open or state.opens_in_s > self._closed_s

    def price_usd(self, candidate: Candidate, input_tokens: int, output_tokens: int) -> Decimal | None:
        """What a call of this size would cost now; see `Facts`."""
        return self._catalogue.expect(
            candidate.provider,
            candidate.model,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            at=time.time(),
        )


class _LaneFacts:
    """`shared.routing.Facts` for jobs in one lane."""

    def __init__(self, live: LiveFacts, lane: Lane) -> None:
        self._live = live
        self._lane = lane

    def is_open(self, candidate: Candidate) -> bool:
        state = self._live.state(candidate)
        return state is not None and self._live.takes_no_calls(state)

    def price_usd(self, candidate: Candidate, input_tokens: int, output_tokens: int) -> Decimal | None:
        return self._live.price_usd(candidate, input_tokens, output_tokens)

    def p50_s(self, candidate: Candidate) -> float | None:
        state = self._live.state(candidate)
        if state is None:
            return None
        if state.usual_s is not None:
            return state.usual_s
        # One job a reading is enough to try it; the others go by what is known.
        is_being_tried = self._live.sent_to(candidate, self._lane) > 0
        return math.inf if state.is_silent or is_being_tried else None

    def finish_in_s(self, candidate: Candidate) -> float | None:
        state = self._live.state(candidate)
        if state is None:
            return None
        if state.is_silent:
            return math.inf
        return state.finish_in_s[self._lane] + state.further_s * self._live.sent_to(candidate, self._lane)
