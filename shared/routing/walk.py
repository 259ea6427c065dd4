"""One request's way through groups: each group decides, down to candidates. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from shared.chat import ChatRequest
from shared.job import Candidate
from shared.routing.classifier import clamp, place_of, scale_of
from shared.routing.facts import Facts
from shared.routing.features import Features
from shared.routing.groups import Group
from shared.routing.rules import Choice
from shared.routing.strategies import Question, choose, from_nearest

MAX_CANDIDATES = 16
"""Candidates of a job at most: its first choice and 15 to go on with, as many as a request's own fallbacks."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A rating that a group wants before it can choose.

    Attributes:
        group_id: The group.
        targets: Its targets as they were defined, which the rating chooses among.
        groups: Those of them that are groups.
        has_fallbacks: Whether the job may go on with the targets that are not chosen.
        candidates: Who may be asked for the rating, in order of preference, at least one.
        scale: The highest rating.
        timeout_s: How long to wait for it, in seconds.
        cache_s: How long it may be used again for an identical message, in seconds; 0 = not.
        chain: The decisions before.
        rest: What the groups around this one would go on with.
    """

    group_id: str
    targets: tuple[str, ...]
    groups: tuple[str, ...]
    has_fallbacks: bool
    candidates: tuple[Candidate, ...]
    scale: int
    timeout_s: float
    cache_s: float
    chain: tuple[str, ...] = ()
    rest: tuple[Candidate, ...] = ()


class Lead(NamedTuple):
    """Where a name leads for a request."""

    candidates: tuple[Candidate, ...]
    """In order of preference, chosen without a rating; none = nothing is registered."""
    chain: tuple[str, ...]
    """The decisions on the way to the first candidate, and that one; up to the rating if one is wanted."""
    selection: Selection | None = None
    """The rating that is wanted first, if any."""


NOWHERE = Lead((), ())


class Walk:
    """Resolves groups for one request. Every group on the way is asked once."""

    def __init__(
        self,
        end: Callable[[str], Group | Candidate | None],
        features: Callable[[], Features],
        request: ChatRequest | None,
        facts: Facts,
        random: Random,
        *,
        rating: tuple[str, int | None] | None = None,
    ) -> None:
        """Start a walk.

        Args:
            end: What a name leads to: a group without a fault, a candidate, or nothing that is registered.
            features: The request's features; called once at most.
            request: The request; None = it is not known, so nothing is rated.
            facts: What is known of candidates.
            random: Source of the draws of weighted groups.
            rating: A group that has its rating, and that; None = its selector failed.
        """
        self._end = end
        self._read_features = features
        self._features: Features | None = None
        self._request = request
        self._facts = facts
        self._random = random
        self._rating = rating
        self._leads: dict[str, Lead] = {}

    def into(self, group: Group, chain: tuple[str, ...] = (), rest: tuple[Candidate, ...] = ()) -> Lead:
        """Where a group leads, behind earlier decisions and before what is gone on with else."""
        lead = self._ask(group)
        if lead is NOWHERE and rest:
            lead = _to(rest[0])
        return _behind(chain, lead, rest)

    def _lead(self, name: str) -> Lead:
        end = self._end(name)
        if end is None:
            return NOWHERE
        if isinstance(end, Candidate):
            return _to(end)
        return self._ask(end)

    def _ask(self, group: Group) -> Lead:
        if group.id not in self._leads:
            self._leads[group.id] = self._decide(group, [self._lead(name) for name in group.settings.targets])
        return self._leads[group.id]

    def _decide(self, group: Group, leads: Sequence[Lead]) -> Lead:
        usable = sum(bool(lead.candidates) for lead in leads)
        if not usable:
            return NOWHERE
        if group.settings.strategy != "classifier":
            return _join(group, self._choose(group, leads), leads)
        if self._rating is not None and self._rating[0] == group.id:
            return _join(group, self._by_rating(group, leads, self._rating[1]), leads)
        choice = self._choose(group, leads)
        if usable == 1 or self._request is None:  # nothing to choose, or nothing to go by
            return _join(group, choice, leads)
        selectors = self._lead(group.settings.selector).candidates
        if not selectors:
            return _join(group, Choice(choice.places, f"selector is off, {choice.reason}"), leads)
        return self._wanting(group, selectors, _join(group, choice, leads).candidates)

    def _choose(self, group: Group, leads: Sequence[Lead]) -> Choice:
        limit = self._request.output_limit_tokens if self._request else None
        targets = [lead.candidates for lead in leads]
        return choose(Question(group, targets, self._known_features, limit, self._facts, self._random))

    def _by_rating(self, group: Group, leads: Sequence[Lead], rating: int | None) -> Choice:
        if rating is None:
            choice = self._choose(group, leads)
            return Choice(choice.places, f"no rating, {choice.reason}")
        scale = scale_of(len(leads), group.settings.complexity_threshold)
        place = place_of(rating, len(leads), scale)
        return Choice(from_nearest((place,), len(leads)), f"rating {clamp(rating, scale)}/{scale}")

    def _wanting(
        self, group: Group, selectors: tuple[Candidate, ...], unrated: tuple[Candidate, ...]
    ) -> Lead:
        """A group that wants a rating."""
        settings = group.settings
        selection = Selection(
            group.id,
            settings.targets,
            tuple(name for name in settings.targets if isinstance(self._end(name), Group)),
            settings.fallback,
            selectors,
            scale_of(len(settings.targets), settings.complexity_threshold),
            settings.selector_timeout_s,
            settings.cache_s,
        )
        asked = f"{group.id} (asks {selectors[0].provider}/{selectors[0].model})"
        return Lead(unrated, (asked,), selection)

    def _known_features(self) -> Features:
        if self._features is None:
            self._features = self._read_features()
        return self._features


def _to(candidate: Candidate) -> Lead:
    return Lead((candidate,), (f"{candidate.provider}/{candidate.model}",))


def _join(group: Group, choice: Choice, leads: Sequence[Lead]) -> Lead:
    """A group's decision: the first target of its choice that leads anywhere, then the others."""
    order = [leads[place] for place in choice.places if leads[place].candidates]
    others = order[1:] if group.settings.fallback else []
    rest = [candidate for lead in others for candidate in lead.candidates]
    return _behind((f"{group.id} ({choice.reason})",), order[0], rest)


def _behind(chain: tuple[str, ...], lead: Lead, rest: Iterable[Candidate]) -> Lead:
    """A lead behind earlier decisions, and before what is gone on with else."""
    selection = lead.selection
    if selection is not None:
        all_rest = _distinct((*selection.rest, *rest))
        selection = replace(selection, chain=(*chain, *selection.chain), rest=all_rest)
    return Lead(_distinct((*lead.candidates, *rest)), (*chain, *lead.chain), selection)


def _distinct(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    return tuple(dict.fromkeys(candidates))[:MAX_CANDIDATES]
