"""A job's way: all it may be sent to, what groups decided, and the rating that may be wanted first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from shared.chat import ChatRequest
from shared.job import Candidate
from shared.job_record import selection_fields
from shared.routing import MAX_CANDIDATES, Facts, Features, Route, Router, Selection
from shared.routing.classifier import MAX_RATING_TOKENS, rating_request
from shared.tokens import estimate_prompt_tokens

Entry = tuple[str, str] | tuple[str, str, int, int]
"""A candidate as the store has it: provider and model; with a call's prompt and output tokens where they differ."""


class Way(NamedTuple):
    """Where a job goes, and what was decided on the way."""

    candidates: tuple[Candidate, ...]
    """In order of preference. Of a job that is rated first the selectors, then where it goes without a rating."""
    chain: tuple[str, ...] = ()
    """Decisions of groups, for people; empty where none was asked."""
    selection: Selection | None = None
    """The rating that is wanted first."""
    unrated_chain: tuple[str, ...] = ()
    """The decisions if no selector answers."""


def find_way(request: ChatRequest, features: Callable[[], Features], router: Router, facts: Facts) -> Way:
    """Where a request goes whose model, or one of whose fallbacks, is a group.

    Raises:
        ProviderNotFound, InvalidRequest: One of the names leads nowhere.
    """
    route = router.route(request.model, request, features, facts)
    others = [router.route(name, request, features, facts) for name in request.fallbacks or ()]
    rest = [one for other in others for one in _unrated(other, request, features, router, facts).candidates]
    return _way(route, rest, request, features, router, facts)


def find_way_rated(
    selection: Selection,
    rating: int,
    request: ChatRequest,
    features: Callable[[], Features],
    router: Router,
    facts: Facts,
) -> Way:
    """Where a request goes whose selector has answered.

    Raises:
        ProviderNotFound, InvalidRequest: Its group leads nowhere any more.
    """
    route = router.select(
        selection.group_id, rating, request, features, facts, chain=selection.chain, rest=selection.rest
    )
    return _way(route, (), request, features, router, facts)


def _way(
    route: Route,
    rest: Iterable[Candidate],
    request: ChatRequest,
    features: Callable[[], Features],
    router: Router,
    facts: Facts,
) -> Way:
    rest = tuple(rest)
    if route.selection is None:
        return Way(_distinct((*route.candidates, *rest)), route.chain)
    unrated = _unrated(route, request, features, router, facts)
    selection = replace(route.selection, rest=_distinct((*route.selection.rest, *rest)))
    own = _distinct((*unrated.candidates, *rest))
    return Way((*selection.candidates, *own), route.chain, selection, unrated.chain)


def _unrated(
    route: Route, request: ChatRequest, features: Callable[[], Features], router: Router, facts: Facts
) -> Route:
    """Where a route leads when no selector answers."""
    while (selection := route.selection) is not None:
        route = router.select(
            selection.group_id, None, request, features, facts, chain=selection.chain, rest=selection.rest
        )
    return route


def _distinct(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    return tuple(dict.fromkeys(candidates))[:MAX_CANDIDATES]


def way_fields(way: Way, *, tags: Sequence[str]) -> dict[str, Any]:
    """What stands of it beside the request (`job_record.py`).

    Args:
        tags: The caller's, which are needed again after a rating.
    """
    fields = {"candidates": [(one.provider, one.model) for one in way.candidates], "chain": way.chain}
    if way.selection is None:
        return fields
    return fields | {"selection": selection_fields(way.selection, tags), "unrated_chain": way.unrated_chain}


def way_entries(
    way: Way, features: Callable[[], Features], prompt_tokens: int, output_tokens: int
) -> tuple[list[Entry], tuple[int, int]]:
    """The candidates as the store has them (`NewJob.candidates`), and the tokens of its first call.

    Args:
        way: Where the job goes.
        features: Its features.
        prompt_tokens: Of its own call, estimated.
        output_tokens: The caller's limit; 0 = none.
    """
    pairs = [(one.provider, one.model) for one in way.candidates]
    if way.selection is None:
        return [*pairs], (prompt_tokens, output_tokens)
    selectors = len(way.selection.candidates)
    own = [(provider, model, prompt_tokens, output_tokens) for provider, model in pairs[selectors:]]
    asked = rating_request(pairs[0][1], features().text, way.selection.scale)
    rating_tokens = estimate_prompt_tokens(asked, orjson.dumps(asked.body()))
    return [*pairs[:selectors], *own], (rating_tokens, MAX_RATING_TOKENS)
