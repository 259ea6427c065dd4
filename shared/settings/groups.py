"""`[groups.<id>]`: model names that stand for a choice among several models, and how it is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from shared.settings.section import Section
from shared.settings.sections import DAY_S
from shared.settings.tiers import ModelName

Strategy = Literal["heuristic", "classifier", "failover", "cheapest", "fastest", "least_busy", "weighted"]
"""How a group chooses among its targets; `shared/routing/strategies.py` says what each goes by."""

MAX_TARGETS = 15
"""Targets of a group; with the group's first choice in front they fit into a job's 16 candidates."""

MAX_RULES = 100
"""Rules of a group: far more than people keep in mind, and few enough to look at all of them for each job."""

GroupId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9:._-]{0,63}$")]
"""Stands where a model's name does. No slash: what stands before one is a provider."""

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
RuleText = Annotated[str, StringConstraints(max_length=500)]
Weight = Annotated[float, Field(ge=0, le=1000)]


class ConditionSettings(Section):
    """What a request must be like; all that is given must hold, and nothing given never does."""

    any_of_tags: Annotated[tuple[Tag, ...], Field(strict=False, max_length=50)] = ()
    """One of these tags, in any case: found by the words of the last user message, or the caller's own."""

    max_input_tokens_lt: int | None = Field(default=None, ge=1, le=100_000_000)
    """The prompt has fewer tokens than this, by estimate."""

    requires_reasoning: bool | None = None
    """Whether the last user message asks for reasoning, in words."""

    requires_tool_calling: bool | None = None
    """Whether the model may call tools."""

    has_multimodal_input: bool | None = None
    """Whether there is more than text in it."""

    is_default_fallback: bool = False
    """Holds for every request that the other conditions beside it hold for."""


class RuleSettings(Section):
    """One rule of a heuristic group.

    The first rule of a group decides of which kind all of them are: with `primary_model` or `rule_id` in it they
    are condition rules, otherwise pattern rules.
    """

    rule_id: Annotated[str, StringConstraints(max_length=64)] = ""
    """Names the rule where a decision is explained."""

    description: RuleText = ""
    """For people."""

    conditions: ConditionSettings = ConditionSettings()
    """When it applies (condition rules)."""

    primary_model: Annotated[str, StringConstraints(strip_whitespace=True, max_length=256)] = ""
    """The target it chooses, in any case; it counts only if it is among the group's targets."""

    fallback_model: Annotated[str, StringConstraints(strip_whitespace=True, max_length=256)] = ""
    """The target after that; chosen where the first one cannot be. Counts only if it is among the targets, too."""

    pattern: RuleText = ""
    """Text to look for in the last user message (pattern rules); with `(` or `\\b` also a regular expression."""

    target: int = Field(default=0, ge=0, le=MAX_TARGETS - 1)
    """Place of the target that a pattern chooses, counted from 0."""

    case_sensitive: bool = False
    """Whether capital letters make a difference to the pattern."""


class GroupSettings(Section):
    """One group. In the file, an entry with the name of a built-in group overrides only the keys it states."""

    strategy: Strategy = "heuristic"
    """How a target is chosen for a request."""

    targets: Annotated[tuple[ModelName, ...], Field(strict=False, min_length=1, max_length=MAX_TARGETS)]
    """Models, tiers or other groups; the cheapest and fastest first, the strongest last."""

    logic_level: int = Field(default=5, ge=1, le=10)
    """How demanding the tasks are that it is meant for, from 1 to 10; shown in listings."""

    primary_use: RuleText = ""
    """What it is for; shown in listings."""

    rules: Annotated[tuple[RuleSettings, ...], Field(strict=False, max_length=MAX_RULES)] = ()
    """The first one that matches chooses (heuristic, and classifier where the selector fails)."""

    weights: Annotated[tuple[Weight, ...], Field(strict=False, max_length=MAX_TARGETS)] = ()
    """Shares of the targets, one for each (weighted). With 0 a target is only gone on with."""

    selector: Annotated[str, StringConstraints(strip_whitespace=True, max_length=256)] = ""
    """Model that rates the last user message (classifier), or a group in which nothing needs a rating itself.

    A worker that serves it sends jobs on only to those targets whose providers have a key there.
    """

    complexity_threshold: int | None = Field(default=None, ge=2, le=100)
    """The highest rating, mapped evenly onto the targets (classifier). Left out: as many as there are targets."""

    selector_timeout_s: float = Field(default=30.0, ge=0.1, le=3600)
    """Longest time of a rating call, in seconds; without an answer until then the job goes on by the rules."""

    cache_s: float = Field(default=0.0, ge=0, le=30 * DAY_S)
    """How long the rating of a message is used again for identical ones, in seconds. 0: each is rated."""

    fallback: bool = True
    """Whether a job may go on with the targets that were not chosen."""

    @model_validator(mode="after")
    def _has_what_its_strategy_needs(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        if self.strategy == "classifier" and not self.selector:
            yield "needs a selector: the model that rates (strategy classifier)"
        if self.strategy == "weighted" or self.weights:
            if len(self.weights) != len(self.targets):
                yield f"needs as many weights as targets: {len(self.targets)}, not {len(self.weights)}"
            if not any(self.weights):
                yield "needs a weight over 0"
        for number, rule in enumerate(self.rules):
            if rule.target >= len(self.targets):
                places = f"0 to {len(self.targets) - 1}" if len(self.targets) > 1 else "0"
                yield f"has a rule [{number}] with target {rule.target}; allowed: {places}"
