"""What stands beside a job's request (`cq_info`): written by producers and by selectors, read by everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.job import Candidate
from shared.routing import MAX_CANDIDATES, Selection
from shared.settings import MAX_TARGETS

MAX_SCALE, MAX_TIMEOUT_S, MAX_CACHE_S = 100, 3600, 30 * 86_400
"""The bounds that `GroupSettings` has for `complexity_threshold`, `selector_timeout_s` and `cache_s`."""


def job_record(
    model: str,
    candidates: Sequence[Sequence[Any]],
    *,
    client: str,
    source: str | None = None,
    batch: str | None = None,
    stream: bool = False,
    webhook_url: str | None = None,
) -> dict[str, Any]:
    """The record of any job.

    Groups add `chain`, `tags`, the `fallback_chain` of groups among the fallbacks, and while a rating is wanted
    `selection` and `unrated_chain` (`way.py`).

    Args:
        model: The name that was asked for.
        candidates: [provider, model] each, in order of preference.
        stream: Its answer is written down piece by piece; as `stream`, if so.
        webhook_url: Who is told that it ended; as `webhook`.
    """
    record: dict[str, Any] = {"model": model, "candidates": candidates, "client": client}
    more = {"source": source, "batch": batch, "stream": stream or None, "webhook": webhook_url}
    return record | {name: value for name, value in more.items() if value is not None}


def selection_fields(selection: Selection, tags: Sequence[str]) -> dict[str, Any]:
    """As `read_selection` reads it; the selectors are the first of the job's candidates, so many are."""
    return {
        "group": selection.group_id,
        "targets": selection.targets,
        "groups": selection.groups,
        "has_fallbacks": selection.has_fallbacks,
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
            "targets": [*targets],
            "groups": list(groups),
            "has_fallbacks": bool(has_fallbacks),
            "selectors": int(selectors),
            "scale": int(scale),
            "timeout_s": int() | float() as timeout_s,
            "cache_s": int() | float() as cache_s,
            "chain": list(chain),
            "rest": list(rest),
            "tags": list(tags),
        } if (
            1 <= selectors <= len(candidates)
            and 1 <= len(targets) <= MAX_TARGETS
            and 2 <= scale <= MAX_SCALE
            and 0 <= timeout_s <= MAX_TIMEOUT_S
            and 0 <= cache_s <= MAX_CACHE_S
            and len(rest) <= MAX_CANDIDATES
        ):
            selection = Selection(
                group_id,
                _texts(targets),
                _texts(groups),
                has_fallbacks,
                tuple(candidates[:selectors]),
                scale,
                timeout_s,
                cache_s,
                _texts(chain),
                read_candidates(rest),
            )
            return selection, _texts(tags)
        case _:
            raise ValueError("cq_info.selection is not a wanted rating")


def _texts(values: list[Any]) -> tuple[str, ...]:
    return tuple(map(str, values))


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
