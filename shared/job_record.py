"""What stands beside a job's request (`cq_info`): written by producers and by selectors, read by everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.job import Candidate
from shared.routing import MAX_CANDIDATES, Selection

MAX_SCALE = 100
"""Highest rating of any group (`GroupSettings.complexity_threshold`)."""


def job_record(
    model: str,
    candidates: Sequence[Sequence[Any]],
    *,
    client: str,
    source: str | None = None,
    batch: str | None = None,
) -> dict[str, Any]:
    """The record of any job; groups add `chain`, and while a rating is wanted `selection` and `unrated_chain`.

    Args:
        model: The name that was asked for.
        candidates: [provider, model] each, in order of preference.
    """
    record: dict[str, Any] = {"model": model, "candidates": candidates, "client": client}
    return record | {k: v for k, v in (("source", source), ("batch", batch)) if v is not None}


def selection_fields(selection: Selection, tags: Sequence[str]) -> dict[str, Any]:
    """As `read_selection` reads it; the selectors are the first of the job's candidates, so many are."""
    return {
        "group": selection.group_id,
        "selectors": len(selection.candidates),
        "scale": selection.scale,
        "timeout_s": selection.timeout_s,
        "cache_s": selection.cache_s,
        "chain": selection.chain,
        "rest": [[one.provider, one.model] for one in selection.rest],
        "tags": tags,
    }


def read_selection(value: Any, candidates: Sequence[Candidate]) -> tuple[Selection, tuple[str, ...]]:
    """The wanted rating of a job with these candidates, and its caller's tags.

    Raises:
        ValueError: It is not what a producer writes.
    """
    match value:
        case {
            "group": str(group_id),
            "selectors": int(selectors),
            "scale": int(scale),
            "timeout_s": int() | float() as timeout_s,
            "cache_s": int() | float() as cache_s,
            "chain": list(chain),
            "rest": list(rest),
            "tags": list(tags),
        } if 1 <= selectors <= len(candidates) and 2 <= scale <= MAX_SCALE and len(rest) <= MAX_CANDIDATES:
            selection = Selection(
                group_id,
                tuple(candidates[:selectors]),
                scale,
                timeout_s,
                cache_s,
                tuple(map(str, chain)),
                read_candidates(rest),
            )
            return selection, tuple(map(str, tags))
        case _:
            raise ValueError("cq_info.selection is not a wanted rating")


def read_candidates(value: Any) -> tuple[Candidate, ...]:
    """Candidates from a JSON list of [provider, model].

    Raises:
        ValueError: It is none.
    """
    pairs = value if isinstance(value, list) else [None]
    candidates = []
    for pair in pairs:
        match pair:
            case [str(provider), str(model)]:
                candidates.append(Candidate(provider, model))
            case _:
                raise ValueError("cq_info.candidates is not a list of [provider, model]")
    return tuple(candidates)
