"""Strategies: in which order a group's targets come for a request. Pure; what changes comes as facts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from shared.job import Candidate
from shared.routing.facts import Facts
from shared.routing.features import Features
from shared.routing.groups import Group
from shared.routing.rules import Choice
from shared.settings import Strategy

EXPECTED_OUTPUT_TOKENS = 500
"""Length of an answer where the caller sets no limit: about a page. It only weighs the price of output
against that of input, which are alike in their order at nearly all models."""


class Question(NamedTuple):
    """What a group has to decide on."""

    group: Group
    targets: Sequence[Sequence[Candidate]]
    """For each target the candidates it leads to, best first; none = nothing of it is registered."""
    features: Callable[[], Features]
    output_tokens: int | None
    """The caller's limit."""
    facts: Facts
    random: Random


def choose(question: Question) -> Choice:
    """All targets in order of preference, and why.

    The one that was chosen comes first, then what the strategy would go on with. `heuristic` and `classifier`
    decide by what is asked for, and stay with it: the queue moves a job on when its provider is down. All
    others decide by where a call goes best just now, so targets that take no calls are put behind those that
    do.
    """
    return _STRATEGIES[question.group.settings.strategy](question)


def from_nearest(chosen: Sequence[int], count: int) -> tuple[int, ...]:
    """The chosen places, then the stronger ones, then the weaker ones, the nearest first in each.

    Who cannot have the model that a task needs is better served by one that can do more than by one that can
    do less.
    """
    first = chosen[0]
    others = (*range(first + 1, count), *range(first - 1, -1, -1))
    return tuple(dict.fromkeys((*chosen, *others)))


def _by_rules(question: Question) -> Choice:
    choice = question.group.rules.choose(question.features())
    return Choice(from_nearest(choice.places, len(question.targets)), choice.reason)


def _in_order(question: Question) -> Choice:
    return _ranked(question, lambda place: 0)


def _by_price(question: Question) -> Choice:
    """What has no known price comes last: it might be anything."""
    prompt_tokens = question.features().input_tokens
    output_tokens = question.output_tokens or EXPECTED_OUTPUT_TOKENS

    def price(candidate: Candidate) -> float:
        usd = question.facts.price_usd(candidate, prompt_tokens, output_tokens)
        return math.inf if usd is None else float(usd)

    return _ranked(question, _of_the_first(question, price))


def _by_speed(question: Question) -> Choice:
    """What was not tried comes first, else nothing would ever be known of it; what never answered last."""
    return _ranked(question, _of_the_first(question, lambda one: question.facts.p50_s(one) or 0.0))


def _by_backlog(question: Question) -> Choice:
    """What nothing is known of comes last: a job might wait there for ever."""

    def finish(candidate: Candidate) -> float:
        seconds = question.facts.finish_in_s(candidate)
        return math.inf if seconds is None else seconds

    return _ranked(question, _of_the_first(question, finish))


def _by_weight(question: Question) -> Choice:
    """A draw without replacement: what is gone on with follows the weights as well.

    Each target gets an exponentially distributed time with its weight as the rate; the earliest is first
    (Efraimidis and Spirakis, 2006). One number is drawn for each target, so the same source gives the same
    order.
    """
    draws = [question.random.random() for _ in question.targets]

    def time_of(place: int) -> float:
        weight = question.group.settings.weights[place]
        return -math.log(1.0 - draws[place]) / weight if weight else math.inf

    return _ranked(question, time_of)


def _of_the_first(question: Question, rank: Callable[[Candidate], float]) -> Callable[[int], float]:
    """The rank of a target: that of the candidate it would be sent to."""
    return lambda place: rank(question.targets[place][0]) if question.targets[place] else math.inf


def _ranked(question: Question, rank: Callable[[int], float]) -> Choice:
    """Lowest first, those that take no calls last; the group's order decides between equals."""

    def key(place: int) -> tuple[bool, float]:
        is_closed = all(map(question.facts.is_open, question.targets[place]))
        return is_closed, rank(place)

    return Choice(tuple(sorted(range(len(question.targets)), key=key)), question.group.settings.strategy)


_STRATEGIES: dict[Strategy, Callable[[Question], Choice]] = {
    "heuristic": _by_rules,
    "classifier": _by_rules,  # when there is no rating
    "failover": _in_order,
    "cheapest": _by_price,
    "fastest": _by_speed,
    "least_busy": _by_backlog,
    "weighted": _by_weight,
}
