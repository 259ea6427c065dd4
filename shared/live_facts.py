"""What strategies go by, from the fleet and the catalogue: kept in memory, refreshed while somebody asks."""

from __future__ import annotations

import time
from decimal import Decimal

from shared.catalogue import Catalogue
from shared.job import Candidate, Lane
from shared.store.candidates import CandidateState, read_candidates
from shared.store.connect import Store

FRESH_S = 1.0
"""How old what is known may be, in seconds, when it is asked for."""

MAX_CANDIDATES = 500
"""Candidates followed; model names come from callers, so there must be an end."""


class LiveFacts:
    """`shared.routing.Facts` of the running fleet.

    A candidate that is asked for the first time is not known yet; it is from the next `refresh` on.

    Args:
        lane: The lane whose backlog counts.
        closed_s: A candidate that is closed for longer than this, in seconds, takes no calls.
    """

    def __init__(self, store: Store, catalogue: Catalogue, *, lane: Lane, closed_s: float) -> None:
        self._store = store
        self._catalogue = catalogue
        self._lane = lane
        self._closed_s = closed_s
        self._known: dict[Candidate, CandidateState | None] = {}
        self._unknown: dict[Candidate, None] = {}
        self._read_at = 0.0

    @property
    def is_lacking(self) -> bool:
        """Whether something was asked for that is not known yet."""
        return bool(self._unknown)

    async def refresh(self) -> None:
        """Bring up to date what is asked for, unless it is.

        Raises:
            StoreUnavailable: No answer from Redis; what was known stays.
        """
        now = time.monotonic()
        if not self._unknown and now - self._read_at < FRESH_S:
            return
        wanted = [*self._unknown, *self._known][:MAX_CANDIDATES]
        found = await read_candidates(self._store, wanted, lane=self._lane) if wanted else {}
        self._known = {candidate: found.get(candidate) for candidate in wanted}
        self._unknown.clear()
        self._read_at = now

    def is_open(self, candidate: Candidate) -> bool:
        """See `Facts`."""
        state = self._state(candidate)
        return state is not None and state.opens_in_s > self._closed_s

    def price_usd(self, candidate: Candidate, input_tokens: int, output_tokens: int) -> Decimal | None:
        """See `Facts`."""
        return self._catalogue.expect(
            candidate.provider,
            candidate.model,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            at=time.time(),
        )

    def p50_s(self, candidate: Candidate) -> float | None:
        """See `Facts`."""
        state = self._state(candidate)
        return state.usual_s if state else None

    def finish_in_s(self, candidate: Candidate) -> float | None:
        """See `Facts`."""
        state = self._state(candidate)
        return state.finish_in_s if state else None

    def _state(self, candidate: Candidate) -> CandidateState | None:
        if candidate not in self._known and len(self._unknown) < MAX_CANDIDATES:
            self._unknown[candidate] = None
        return self._known.get(candidate)
