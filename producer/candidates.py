"""Candidates: everything a job may be sent to, from the names it was asked for with."""

from __future__ import annotations

from collections.abc import Sequence

from shared.job import Candidate
from shared.routing import MAX_CANDIDATES, Router


def find_candidates(model: str, fallbacks: Sequence[str], router: Router) -> tuple[Candidate, ...]:
    """What a model's name and those of its fallbacks lead to, in order of preference, each once.

    Groups are resolved as for an empty prompt.

    Raises:
        ProviderNotFound, InvalidRequest: One of the names leads nowhere; a fallback that is off is no fallback.
    """
    first = router.resolve(model).candidates
    if not fallbacks:
        return first
    others = (one for name in fallbacks for one in router.resolve(name).candidates)
    return tuple(dict.fromkeys((*first, *others)))[:MAX_CANDIDATES]
