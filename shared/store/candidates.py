"""What the fleet knows of candidates now: whether they take calls, how fast they are, when one more is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from shared.job import Candidate, Lane
from shared.store.connect import Store
from shared.store.waiting import read_number

AT_ONCE = 50
"""Candidates read in one script: about a millisecond of Redis."""

LANES = (Lane.INTERACTIVE, Lane.DEFAULT, Lane.BATCH)
"""The most urgent first, as the script answers."""


class CandidateState(NamedTuple):
    """One candidate at this moment."""

    is_open: bool
    """Whether a breaker lets no calls through; nobody knows whether it will when its time is over."""
    opens_in_s: float
    """Until its breakers and cooldowns let calls through; 0 = they do."""
    usual_s: float | None
    """Running median of its answers, from claim to settle; None = none was seen lately."""
    is_silent: bool
    """Whether it was tried in the last minutes, and has never answered."""
    further_s: float
    """What each further job adds to `finish_in_s`."""
    finish_in_s: Mapping[Lane, float]
    """Until a call that comes now has ended: from what goes before it, limits, slots and pace. Where nothing is
    known of these, as if calls took a second, one after the other."""


async def read_candidates(store: Store, candidates: Iterable[Candidate]) -> dict[Candidate, CandidateState]:
    """Read many candidates; what is broken is left out.

    Raises:
        StoreUnavailable: No answer from Redis.
    """
    wanted = list(dict.fromkeys(candidates))
    found: dict[Candidate, CandidateState] = {}
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        words = [word for c in some for word in (c.provider, c.model)]
        states = orjson.loads(await store.run("read_candidates", words))
        for candidate, state in zip(some, states, strict=True):
            if (known := _state(state)) is not None:
                found[candidate] = known
    return found


def _state(value: Any) -> CandidateState | None:
    numbers = [read_number(number) for number in value] if isinstance(value, list) else []
    if len(numbers) != 5 + len(LANES) or None in numbers:
        return None
    is_open, opens_ms, usual_ms, is_silent, further_ms, *finish_ms = (number or 0.0 for number in numbers)
    return CandidateState(
        bool(is_open),
        opens_ms / 1000,
        usual_ms / 1000 if usual_ms >= 0 else None,
        bool(is_silent),
        further_ms / 1000,
        {lane: ms / 1000 for lane, ms in zip(LANES, finish_ms, strict=True)},
    )
