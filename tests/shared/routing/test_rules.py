"""The rules of heuristic groups: every condition, both kinds, first match, and what counts when none does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.routing.features import NO_FEATURES, Features
from shared.routing.rules import MAX_PATTERN_STEPS, Rules
from shared.settings import GroupSettings

TARGETS = ["small", "middle", "large"]


def rules(*given_rules: dict[str, Any], targets: list[str] = TARGETS) -> Rules:
    return Rules.compile(GroupSettings.model_validate({"targets": targets, "rules": list(given_rules)}))


def places(compiled: Rules, **features: Any) -> tuple[int, ...]:
    text = features.pop("text", "")
    return compiled.choose(replace(NO_FEATURES, text=text, lowered=text.lower(), **features)).places


def condition(primary: str = "large", **conditions: Any) -> dict[str, Any]:
    return {"rule_id": "r", "primary_model": primary, "conditions": conditions}


@pytest.mark.parametrize(
    ("conditions", "features", "holds"),
    [
        ({"any_of_tags": ["a", "B"]}, {"tags": frozenset({"b", "c"})}, True),
        ({"any_of_tags": ["a"]}, {"tags": frozenset({"b"})}, False),
        ({"any_of_tags": ["a"]}, {}, False),
        ({"max_input_tokens_lt": 8000}, {"input_tokens": 7999}, True),
        ({"max_input_tokens_lt": 8000}, {"input_tokens": 8000}, False),
        ({"requires_reasoning": True}, {"needs_reasoning": True}, True),
        ({"requires_reasoning": True}, {}, False),
        ({"requires_reasoning": False}, {}, True),
        ({"requires_reasoning": False}, {"needs_reasoning": True}, False),
        ({"requires_tool_calling": True}, {"has_tools": True}, True),
        ({"requires_tool_calling": True}, {}, False),
        ({"requires_tool_calling": False}, {"has_tools": True}, False),
        ({"has_multimodal_input": True}, {"is_multimodal": True}, True),
        ({"has_multimodal_input": True}, {}, False),
        ({"has_multimodal_input": False}, {}, True),
        ({"is_default_fallback": True}, {}, True),
        ({"is_default_fallback": True, "requires_reasoning": True}, {}, False),
        ({"is_default_fallback": False}, {}, False),
        ({}, {}, False),
        ({"any_of_tags": ["a"], "max_input_tokens_lt": 5}, {"tags": frozenset("a"), "input_tokens": 4}, True),
        (
            {"any_of_tags": ["a"], "max_input_tokens_lt": 5},
            {"tags": frozenset("a"), "input_tokens": 5},
            False,
        ),
        ({"any_of_tags": ["a"], "max_input_tokens_lt": 5}, {"input_tokens": 4}, False),
    ],
)
def test_all_given_conditions_must_hold(
    conditions: dict[str, Any], features: dict[str, Any], holds: bool
) -> None:
    """Each by itself and together; nothing given never does."""
    assert places(rules(condition(**conditions)), **features) == ((2,) if holds else (0,))


def test_first_match_wins() -> None:
    """Whatever stands behind it."""
    compiled = rules(
        condition("small", requires_reasoning=True),
        condition("middle", is_default_fallback=True),
        condition("large", is_default_fallback=True),
    )
    assert places(compiled) == (1,)
    assert places(compiled, needs_reasoning=True) == (0,)


@pytest.mark.parametrize(
    ("primary", "fallback", "expected"),
    [
        ("large", "small", (2, 0)),
        ("LARGE", "Small", (2, 0)),
        ("large", "", (2,)),
        ("large", "large", (2,)),
        ("elsewhere", "middle", (1,)),
        ("large", "elsewhere", (2,)),
        ("", "middle", (1,)),
    ],
)
def test_models_count_only_among_the_targets(primary: str, fallback: str, expected: tuple[int, ...]) -> None:
    """In any case; the fallback takes over for a primary that is none of them."""
    rule = {**condition(primary, is_default_fallback=True), "fallback_model": fallback}
    assert places(rules(rule)) == expected


def test_rule_without_a_target_chooses_nothing() -> None:
    """The next one does."""
    compiled = rules(
        condition("elsewhere", is_default_fallback=True), condition("middle", is_default_fallback=True)
    )
    assert places(compiled) == (1,)
    assert compiled.warnings == ("rule r names 'elsewhere', which is not among the targets",)


def test_pattern_chooses_by_place() -> None:
    """The first one that is found."""
    compiled = rules(
        {"pattern": r"\b(agent|agents|tool use)\b", "target": 2},
        {"pattern": "json", "target": 1},
        {"pattern": "agent", "target": 0},
    )
    assert places(compiled, text="Build AGENTS with JSON") == (2,)
    assert places(compiled, text="some json") == (1,)
    assert places(compiled, text="agentic, refactor") == (0,)


def test_first_rule_decides_which_kind_all_are() -> None:
    """By `primary_model` or `rule_id`; what is of the other kind never matches, and is pointed out."""
    by_id = rules({"rule_id": "r"}, {"pattern": "x", "target": 2})
    by_model = rules({"primary_model": "small"}, {"pattern": "x", "target": 2})
    by_pattern = rules({"pattern": "y", "target": 1}, condition(is_default_fallback=True))
    assert places(by_id, text="x") == places(by_model, text="x") == (0,)
    assert "rule [1] has a pattern, which does not count: the first rule has conditions" in by_id.warnings
    assert places(by_pattern) == (0,)
    assert "rule r has conditions, which do not count: the first rule has none" in by_pattern.warnings


@pytest.mark.parametrize(
    ("targets", "is_complex", "expected"),
    [(TARGETS, True, (2,)), (TARGETS, False, (0,)), (["one"], True, (0,)), (["one"], False, (0,))],
)
@pytest.mark.parametrize("given_rules", [(), ({"pattern": "never", "target": 0},), ({"pattern": ""},)])
def test_without_a_match_complex_tasks_go_to_the_last(
    given_rules: tuple[dict[str, Any], ...], targets: list[str], is_complex: bool, expected: tuple[int, ...]
) -> None:
    """And all else to the first."""
    assert places(rules(*given_rules, targets=targets), is_complex=is_complex) == expected


def test_decision_is_explained() -> None:
    """By the rule's name or place, or by what the prompt sounds like."""
    named = rules(condition(requires_reasoning=True))
    assert named.choose(Features(needs_reasoning=True)).reason == "rule r"
    assert named.choose(Features(is_complex=True)).reason == "complex task"
    assert named.choose(NO_FEATURES).reason == "no rule"
    assert rules({"pattern": "x"}).choose(Features(text="x", lowered="x")).reason == "rule [0]"


@pytest.mark.parametrize(
    ("rule", "warning"),
    [
        (
            {"rule_id": "r", "primary_model": "small"},
            "rule r has no conditions, so it never matches; is_default_fallback = true matches always",
        ),
        (
            {"rule_id": "r", "conditions": {"is_default_fallback": True}},
            "rule r names no primary_model, so it chooses nothing",
        ),
        ({"target": 1}, "rule [0] has no pattern, so it never matches"),
        ({"pattern": "("}, "rule [0] has a pattern that is taken as a text only: missing ): ("),
    ],
)
def test_rule_without_effect_is_pointed_out(rule: dict[str, Any], warning: str) -> None:
    """Where groups are shown."""
    assert rules(rule).warnings == (warning,)


def test_patterns_of_a_group_are_bounded_together() -> None:
    """A hundred of the longest ones hold up a submit no longer than a few."""
    compiled = rules(*({"pattern": f"(.*a.{{30}}){number}"} for number in range(100)))
    texts_only = [warning for warning in compiled.warnings if "text only" in warning]
    steps = sum(rule.pattern.steps for rule in compiled.rules if hasattr(rule, "pattern"))
    assert 0 < steps <= MAX_PATTERN_STEPS
    assert 50 < len(texts_only) < 100


@given(
    st.lists(
        st.fixed_dictionaries(
            {"rule_id": st.just("r"), "primary_model": st.sampled_from([*TARGETS, "elsewhere"])},
            optional={
                "conditions": st.fixed_dictionaries(
                    {},
                    optional={
                        "requires_reasoning": st.booleans(),
                        "has_multimodal_input": st.booleans(),
                        "is_default_fallback": st.booleans(),
                    },
                )
            },
        ),
        max_size=6,
    ),
    st.booleans(),
    st.booleans(),
)
def test_rules_that_do_not_match_change_nothing(
    given_rules: list[dict[str, Any]], needs_reasoning: bool, is_multimodal: bool
) -> None:
    """The choice is that of the first rule that matches by itself."""
    features = {"needs_reasoning": needs_reasoning, "is_multimodal": is_multimodal}
    request = replace(NO_FEATURES, **features)
    alone = [rules(rule).choose(request) for rule in given_rules]
    expected = next((choice for choice in alone if choice.reason == "rule r"), rules().choose(request))
    assert rules(*given_rules).choose(request) == expected


DUSTINS_STACK = rules(
    {
        "rule_id": "fast-flow",
        "conditions": {
            "any_of_tags": ["fast-flow", "classification"],
            "max_input_tokens_lt": 8000,
            "requires_reasoning": False,
        },
        "primary_model": "small",
    },
    {
        "rule_id": "long-document",
        "conditions": {"any_of_tags": ["long-doc", "video-analysis"], "has_multimodal_input": True},
        "primary_model": "large",
        "fallback_model": "middle",
    },
    {"rule_id": "default", "conditions": {"is_default_fallback": True}, "primary_model": "middle"},
)


@pytest.mark.parametrize(
    ("features", "expected", "rule"),
    [
        ({"tags": frozenset({"fast-flow"}), "input_tokens": 7_999}, (0,), "rule fast-flow"),
        ({"tags": frozenset({"fast-flow"}), "input_tokens": 8_000}, (1,), "rule default"),
        ({"tags": frozenset({"classification"}), "needs_reasoning": True}, (1,), "rule default"),
        (
            {"tags": frozenset({"long-doc"}), "is_multimodal": True, "input_tokens": 90_000},
            (2, 1),
            "rule long-document",
        ),
        ({"tags": frozenset({"long-doc"})}, (1,), "rule default"),
        ({"tags": frozenset({"fast-flow", "long-doc"}), "is_multimodal": True}, (0,), "rule fast-flow"),
        ({"is_complex": True}, (1,), "rule default"),
    ],
)
def test_stack_of_three_tiers(features: dict[str, Any], expected: tuple[int, ...], rule: str) -> None:
    """Quick and small, long with pictures, and all the rest."""
    choice = DUSTINS_STACK.choose(replace(NO_FEATURES, **features))
    assert (choice.places, choice.reason) == (expected, rule)
