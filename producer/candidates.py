"""Candidates: everything a job may be sent to, from the names it was asked for with."""

from __future__ import annotations

from collections.abc import Iterable

from shared.job import Candidate
from shared.routing import Router


def find_candidates(model: str, fallbacks: Iterable[str], router: Router) -> list[Candidate]:
    """What a model's name and those of its fallbacks lead to, in order of preference, each once.

    Raises:
        ProviderNotFound, InvalidRequest: One of the names leads nowhere; a fallback that is off is no fallback.
    """
    names = [model, *fallbacks]
    return list(dict.fromkeys(candidate for name in names for candidate in router.resolve(name).candidates))
