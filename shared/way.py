"""A job's way: all it may be sent to, what groups decided, and the rating that may be wanted first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from shared.chat import ChatRequest
from shared.job import Candidate
from shared.job_record import selection_fields
from shared.routing import MAX_CANDIDATES, Facts, Features, Route, Router, Selection
from shared.routing.classifier import MAX_RATING_TOKENS, rating_request
from shared.tokens import estimate_prompt_tokens

Entry = tuple[str, str] | tuple[str, str, int, int] | tuple[str, str, int, int, str]
"""A candidate as the store has it: provider and model; where they differ, a call's prompt and output tokens; and
`rating` for a selector (`shared/store/lua/lib/failover.lua`)."""


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
    fallback_chain: tuple[str, ...] = ()
    """The decisions of groups among the fallbacks, behind those of the request's own."""


def find_way(request: ChatRequest, features: Callable[[], Features], router: Router, facts: Facts) -> Way:
    """Where a request goes whose model, or one of whose fallbacks, is a group.

    Raises:
        ProviderNotFound, InvalidRequest: One of the names leads nowhere.
    """
    route = router.route(request.model, request, features, facts)
    others = [
        _unrated(router.route(name, request, features, facts), request, features, router, facts)
        for name in request.fallbacks or ()
    ]
    rest = [one for other in others for one in other.candidates]
    way = _way(route, rest, request, features, router, facts)
    fallback_chain = [step for other in others if other.chain for step in _else(other.chain)]
    if not fallback_chain:
        return way
    # Of a name that is no group the decisions begin with where it leads, so that the others can follow.
    chain = way.chain or (f"{route.provider}/{route.upstream_model}",)
    return way._replace(chain=chain, fallback_chain=tuple(fallback_chain))


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
    route = router.select(selection, rating, request, features, facts)
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
        route = router.select(selection, None, request, features, facts)
    return route


def _else(chain: tuple[str, ...]) -> tuple[str, ...]:
    return (f"else {chain[0]}", *chain[1:])


def _distinct(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    return tuple(dict.fromkeys(candidates))[:MAX_CANDIDATES]


def way_fields(way: Way, *, tags: Sequence[str]) -> dict[str, Any]:
    """What stands of it beside the request (`job_record.py`).

    Args:
        tags: The caller's, which are needed again after a rating, and when the job is replayed.
    """
    fields: dict[str, Any] = {"candidates": [(one.provider, one.model) for one in way.candidates]}
    fields["chain"] = way.chain
    if way.fallback_chain:
        fields["fallback_chain"] = way.fallback_chain
    if way.selection is None:
        return fields | {"tags": tags} if tags else fields
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
    asked = rating_request(pairs[0][1], features().text, way.selection.scale)
    first = estimate_prompt_tokens(asked, orjson.dumps(asked.body())), MAX_RATING_TOKENS
    rating = [(provider, model, *first, "rating") for provider, model in pairs[:selectors]]
    own = [(provider, model, prompt_tokens, output_tokens) for provider, model in pairs[selectors:]]
    return [*rating, *own], first


def read_tags(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The caller's tags in a record (`way_fields`), as far as groups were asked; untrusted."""
    selection = record.get("selection")
    tags = (selection if isinstance(selection, dict) else record).get("tags")
    return tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
