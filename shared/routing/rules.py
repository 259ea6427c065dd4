"""The rules of a heuristic group: which of its targets a request goes to. Pure.

There are two kinds. Condition rules ask about features, and name targets; pattern rules look for words in the
last user message, and give a target's place. The first rule that matches wins; where none does, the built-in
signs of a complex task choose the last target, which is the strongest, and all else goes to the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shared.routing.features import Features
from shared.routing.patterns import Pattern
from shared.settings import ConditionSettings, GroupSettings, RuleSettings

MAX_PATTERN_STEPS = 2_000
"""All of a group's patterns together, in RE2's instructions; those beyond it are taken as texts only. With
the longest text that is looked through (8 KB) that is under 0.1 s for the worst that anybody can write, and
microseconds for all else."""


class Choice(NamedTuple):
    """What the rules decide."""

    places: tuple[int, ...]
    """Places of targets in order of preference, at least one."""
    reason: str
    """For people."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold, all of what is given; nothing given never holds."""

    settings: ConditionSettings
    tags: frozenset[str]
    """Of `any_of_tags`, in lower case."""

    def hold(self, features: Features) -> bool:
        """Whether a request with these features meets them."""
        given = self.settings
        asked = (
            (given.requires_reasoning, features.needs_reasoning),
            (given.requires_tool_calling, features.has_tools),
            (given.has_multimodal_input, features.is_multimodal),
            (True if self.tags else None, not self.tags.isdisjoint(features.tags)),
            (
                True if given.max_input_tokens_lt else None,
                features.input_tokens < (given.max_input_tokens_lt or 0),
            ),
        )
        answers = [wanted == found for wanted, found in asked if wanted is not None]
        return all(answers) if answers else given.is_default_fallback


@dataclass(frozen=True, slots=True)
class ConditionRule:
    """A rule that asks about features."""

    name: str
    conditions: Conditions
    places: tuple[int, ...]
    """Of its primary and its fallback model, those that are among the targets; empty = the rule chooses nothing."""

    def choose(self, features: Features) -> Choice | None:
        """Its targets, if it matches."""
        if self.places and self.conditions.hold(features):
            return Choice(self.places, f"rule {self.name}")
        return None


@dataclass(frozen=True, slots=True)
class PatternRule:
    """A rule that looks for a pattern."""

    name: str
    pattern: Pattern
    place: int

    def choose(self, features: Features) -> Choice | None:
        """Its target, if it matches."""
        if self.pattern.is_found_in(features.text, features.lowered):
            return Choice((self.place,), f"rule {self.name}")
        return None


@dataclass(frozen=True)
class Rules:
    """A group's rules, compiled once."""

    last: int
    """Place of the last target."""
    rules: tuple[ConditionRule | PatternRule, ...] = ()
    warnings: tuple[str, ...] = ()
    """What in them has no effect, one line each."""

    @classmethod
    def compile(cls, group: GroupSettings) -> Rules:
        """Make a group's rules ready; nothing in them is refused, what cannot work is a warning."""
        last = len(group.targets) - 1
        if not group.rules:
            return cls(last)
        if group.rules[0].primary_model or group.rules[0].rule_id:
            return _with_conditions(group, last)
        return _with_patterns(group.rules, last)

    def choose(self, features: Features) -> Choice:
        """The targets for a request: by the first rule that matches, else by how complex it sounds."""
        for rule in self.rules:
            choice = rule.choose(features)
            if choice is not None:
                return choice
        if features.is_complex and self.last:
            return Choice((self.last,), "complex task")
        return Choice((0,), "no rule")


def _with_conditions(group: GroupSettings, last: int) -> Rules:
    places = {target.lower(): place for place, target in reversed(list(enumerate(group.targets)))}
    rules = []
    warnings: list[str] = []
    for number, rule in enumerate(group.rules):
        named = [model for model in (rule.primary_model, rule.fallback_model) if model]
        found = [places[model.lower()] for model in named if model.lower() in places]
        tags = frozenset(tag.lower() for tag in rule.conditions.any_of_tags)
        conditions = Conditions(rule.conditions, tags)
        rules.append(ConditionRule(_name_of(rule, number), conditions, tuple(dict.fromkeys(found))))
        warnings += (f"rule {_name_of(rule, number)} {text}" for text in _odd_conditions(rule, named, places))
    return Rules(last, tuple(rules), tuple(warnings))


def _odd_conditions(rule: RuleSettings, named: Sequence[str], places: dict[str, int]) -> Iterator[str]:
    if rule.conditions == ConditionSettings():
        yield "has no conditions, so it never matches; is_default_fallback = true matches always"
    if not named:
        yield "names no primary_model, so it chooses nothing"
    for model in named:
        if model.lower() not in places:
            yield f"names {model!r}, which is not among the targets"
    if rule.pattern:
        yield "has a pattern, which does not count: the first rule has conditions"


def _with_patterns(rules: Sequence[RuleSettings], last: int) -> Rules:
    compiled, warnings, steps = [], [], MAX_PATTERN_STEPS
    for number, rule in enumerate(rules):
        name = _name_of(rule, number)
        pattern = Pattern(rule.pattern, case_sensitive=rule.case_sensitive, max_steps=steps)
        steps -= pattern.steps
        compiled.append(PatternRule(name, pattern, rule.target))
        if not rule.pattern:
            warnings.append(f"rule {name} has no pattern, so it never matches")
        if pattern.problem:
            warnings.append(f"rule {name} has a pattern that is taken as a text only: {pattern.problem}")
        if rule.primary_model or rule.conditions != ConditionSettings():
            warnings.append(f"rule {name} has conditions, which do not count: the first rule has none")
    return Rules(last, tuple(compiled), tuple(warnings))


def _name_of(rule: RuleSettings, number: int) -> str:
    return rule.rule_id or f"[{number}]"
