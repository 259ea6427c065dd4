"""What the fleet knows of candidates just now: whether they take calls, how fast they are, how much waits there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from shared.job import Candidate, Lane
from shared.store.connect import Store
from shared.store.waiting import read_number

AT_ONCE = 50
"""Candidates read in one script: under a millisecond of Redis."""


class CandidateState(NamedTuple):
    """One candidate at this moment."""

    opens_in_s: float
    """Until its breakers and cooldowns let calls through; 0 = they do."""
    usual_s: float | None
    """Running median of its calls, from claim to settle; None = no call was seen lately."""
    finish_in_s: float | None
    """Until a call that comes now has ended, from backlog, limits and pace; None = unknown."""


async def read_candidates(
    store: Store, candidates: Iterable[Candidate], *, lane: Lane
) -> dict[Candidate, CandidateState]:
    """Read many candidates; what is broken is left out.

    Args:
        lane: The lane a job would wait in.

    Raises:
        StoreUnavailable: No answer from Redis.
    """
    wanted = list(dict.fromkeys(candidates))
    found: dict[Candidate, CandidateState] = {}
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        words = [word for c in some for word in (c.provider, c.model)]
        states = orjson.loads(await store.run("read_candidates", [lane.value, *words]))
        for candidate, state in zip(some, states, strict=True):
            if (known := _state(state)) is not None:
                found[candidate] = known
    return found


def _state(value: Any) -> CandidateState | None:
    numbers = [read_number(number) for number in value] if isinstance(value, list) else []
    if len(numbers) != 3 or None in numbers:
        return None
    opens_ms, usual_ms, finish_ms = (number or 0.0 for number in numbers)
    return CandidateState(
        max(0.0, opens_ms) / 1000,
        usual_ms / 1000 if usual_ms >= 0 else None,
        finish_ms / 1000 if finish_ms >= 0 else None,
    )
