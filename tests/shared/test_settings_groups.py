"""`[groups]`: how groups are written, what they are laid over, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigError
from shared.settings import (
    SEED_GROUPS,
    ConditionSettings,
    GroupSettings,
    ModelSettings,
    find_faults,
    load_settings,
    seed_groups,
)
from shared.settings.group_graph import MAX_DEPTH

GROUP_KEYS = (
    "strategy, targets, logic_level, primary_use, rules, weights, selector, complexity_threshold, "
    "selector_timeout_s, cache_s, fallback"
)
RULE_KEYS = "rule_id, description, conditions, primary_model, fallback_model, pattern, target, case_sensitive"
CONDITION_KEYS = (
    "any_of_tags, max_input_tokens_lt, requires_reasoning, requires_tool_calling, has_multimodal_input, "
    "is_default_fallback"
)
TARGETS = 'a list of 1 to 15 texts, like ["a", "b"]'
RULES = "a list of up to 100 tables, like [{ }, { }] or [[ ]] sections"
WEIGHTS = "a list of up to 15 numbers from 0 to 1000, like [1, 0.5]"
TAGS = 'a list of up to 50 texts, like ["a", "b"]'
NAMES = "allowed: letters, digits, and : . _ - behind the first of these, up to 64"

A = '[groups.a]\ntargets = ["x"]\n'
RULE = A + "[[groups.a.rules]]\n"
CONDITIONS = RULE + "[groups.a.rules.conditions]\n"

BAD_GROUPS = [
    # keys
    (
        A + "target = 1",
        f"groups.a.target is not a known key (did you mean 'targets'?); allowed: {GROUP_KEYS}",
    ),
    (
        RULE + 'patern = "x"',
        f"groups.a.rules[0].patern is not a known key (did you mean 'pattern'?); allowed: {RULE_KEYS}",
    ),
    (
        CONDITIONS + "max_input_tokens = 5",
        "groups.a.rules[0].conditions.max_input_tokens is not a known key "
        f"(did you mean 'max_input_tokens_lt'?); allowed: {CONDITION_KEYS}",
    ),
    ("[groups.a]", f"groups.a.targets is missing; allowed: {TARGETS}"),
    # numbers of entries
    ("[groups.a]\ntargets = []", f"groups.a.targets has 0 entries; allowed: {TARGETS}"),
    (
        f"[groups.a]\ntargets = {['x'] * 16}",
        f"groups.a.targets has 16 entries; allowed: {TARGETS}",
    ),
    # types and ranges
    ("groups = 5", "[groups] is 5; allowed: a table"),
    ("groups.a = 5", "groups.a is 5; allowed: a table"),
    (
        A + 'strategy = "cheap"',
        "groups.a.strategy is 'cheap'; allowed: "
        '"heuristic" or "classifier" or "failover" or "cheapest" or "fastest" or "least_busy" or "weighted"',
    ),
    ('[groups.a]\ntargets = "x"', f"groups.a.targets is a text; allowed: {TARGETS}"),
    ('[groups.a]\ntargets = [""]', f"groups.a.targets has an entry that is empty; allowed: {TARGETS}"),
    (A + "logic_level = 11", "groups.a.logic_level is 11; allowed: a whole number from 1 to 10"),
    (
        A + "complexity_threshold = 1",
        "groups.a.complexity_threshold is 1; allowed: a whole number from 2 to 100",
    ),
    (A + "cache_s = -1", "groups.a.cache_s is -1; allowed: a number from 0 to 2592000"),
    (A + "selector_timeout_s = 0", "groups.a.selector_timeout_s is 0; allowed: a number from 0.1 to 3600"),
    (A + "fallback = 1", "groups.a.fallback is 1; allowed: true or false"),
    (A + "selector = 5", 'groups.a.selector is a whole number; allowed: a text, like "x"'),
    (A + "rules = 5", f"groups.a.rules is 5; allowed: {RULES}"),
    (A + "rules = [1]", f"groups.a.rules has an entry that is a whole number; allowed: {RULES}"),
    (RULE + 'target = "3"', "groups.a.rules[0].target is a text; allowed: a whole number from 0 to 14"),
    (RULE + "[[groups.a.rules]]\nconditions = 5", "groups.a.rules[1].conditions is 5; allowed: a table"),
    (
        CONDITIONS + "max_input_tokens_lt = 0",
        "groups.a.rules[0].conditions.max_input_tokens_lt is 0; allowed: a whole number from 1 to 100000000",
    ),
    (
        CONDITIONS + "requires_reasoning = 1",
        "groups.a.rules[0].conditions.requires_reasoning is 1; allowed: true or false",
    ),
    (
        CONDITIONS + "any_of_tags = [1]",
        f"groups.a.rules[0].conditions.any_of_tags has an entry that is a whole number; allowed: {TAGS}",
    ),
    (A + 'weights = ["a"]', f"groups.a.weights has an entry that is a text; allowed: {WEIGHTS}"),
    (A + "weights = [-1]", f"groups.a.weights has an entry that is a whole number; allowed: {WEIGHTS}"),
    # what a strategy needs
    (A + 'strategy = "weighted"', "groups.a needs as many weights as targets: 1, not 0"),
    (A + "weights = [1, 2]", "groups.a needs as many weights as targets: 1, not 2"),
    (A + "weights = [0]", "groups.a needs a weight over 0"),
    (A + 'strategy = "classifier"', "groups.a needs a selector: the model that rates (strategy classifier)"),
    (RULE + "target = 1", "groups.a has a rule [0] with target 1; allowed: 0"),
    # names
    ('[groups."a/b"]\ntargets = ["x"]', f"[groups] 'a/b' is not a group's name; {NAMES}"),
    ('[groups.":a"]\ntargets = ["x"]', f"[groups] ':a' is not a group's name; {NAMES}"),
    ('[groups.local_fast]\ntargets = ["x"]', "groups.local_fast has the name of a tier, which goes first"),
    # how groups lead into each other
    ('[groups.a]\ntargets = ["a"]', "groups.a leads into a circle: a -> a"),
    (
        '[groups.a]\ntargets = ["x", "b"]\n[groups.b]\ntargets = ["a"]',
        "groups.a leads into a circle: a -> b -> a",
    ),
    ('[models]\nm = "a"\n[groups.a]\ntargets = ["m"]', "groups.a leads into a circle: a -> a"),
    (
        '[groups.fast-flow]\ntargets = ["dispatcher"]',
        "groups.fast-flow leads into a circle: fast-flow -> dispatcher -> fast-flow",
    ),
    ('[models]\nfast-flow = "dispatcher"', "[models] leads into a circle: dispatcher -> dispatcher"),
    (
        A + 'strategy = "classifier"\nselector = "dispatcher"',
        "groups.a asks a selector that needs a rating itself: a -> dispatcher",
    ),
    (
        "".join(f'[groups.g{number}]\ntargets = ["g{number + 1}"]\n' for number in range(11)),
        "groups.g0 is nested over 10 deep: " + " -> ".join(f"g{number}" for number in range(11)),
    ),
]


def load(tmp_path: Path, text: str, **env: str) -> dict[str, GroupSettings]:
    path = tmp_path / "groups.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, env=env).groups


@pytest.mark.parametrize(("text", "message"), BAD_GROUPS, ids=[message[:60] for _, message in BAD_GROUPS])
def test_wrong_group_is_refused_in_words(tmp_path: Path, text: str, message: str) -> None:
    """File, key and what is allowed, exactly."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'groups.toml'}: {message}"


def test_group_with_rules_is_read(tmp_path: Path) -> None:
    """Rules are an array of tables, their conditions a table in each."""
    text = """
        [groups."auto:mine"]
        targets = ["openai/gpt-5.4-nano", "xai/grok-4.3"]
        [[groups."auto:mine".rules]]
        rule_id = "quick"
        primary_model = "openai/gpt-5.4-nano"
        [groups."auto:mine".rules.conditions]
        any_of_tags = ["fast-flow"]
        requires_reasoning = false
        [[groups."auto:mine".rules]]
        rule_id = "rest"
    """
    group = load(tmp_path, text)["auto:mine"]
    assert [rule.rule_id for rule in group.rules] == ["quick", "rest"]
    assert group.rules[0].conditions == ConditionSettings(
        any_of_tags=("fast-flow",), requires_reasoning=False
    )


def test_entry_of_a_seed_overrides_what_it_states(tmp_path: Path) -> None:
    """As with built-in providers."""
    dispatcher = load(tmp_path, '[groups.dispatcher]\nselector = "ollama/tiny"')["dispatcher"]
    assert dispatcher.selector == "ollama/tiny"
    assert dispatcher.targets == ("fast-flow", "standard-pro", "heavy-logic")


def test_groups_of_the_file_are_the_only_ones_in_settings(tmp_path: Path) -> None:
    """Seeds that nobody touched can be replaced at run time; those of the file cannot."""
    assert list(load(tmp_path, A)) == ["a"]


def test_variables_reach_groups_and_seeds(tmp_path: Path) -> None:
    """A seed's colon is read as `_`, and a list of rules is one value."""
    groups = load(
        tmp_path,
        "",
        CHATQ_GROUPS__AUTO_FAST__TARGETS='["a", "b"]',
        CHATQ_GROUPS__X__TARGETS='["a"]',
        CHATQ_GROUPS__X__RULES='[{ pattern = "json" }]',
    )
    assert groups["auto:fast"].targets == ("a", "b")
    assert groups["x"].rules[0].pattern == "json"


@pytest.mark.parametrize("variable", ["CHATQ_GROUPS__X", "CHATQ_GROUPS__X__RULES__0__TARGET"])
def test_variable_inside_a_list_is_no_setting(tmp_path: Path, variable: str) -> None:
    """An entry of a list has no name."""
    with pytest.raises(ConfigError, match=f"{variable} is not a setting"):
        load(tmp_path, "", **{variable: "1"})


def test_json_gives_the_same_group() -> None:
    """Groups made at run time are kept as JSON, defaults left out."""
    for group in seed_groups().values():
        assert GroupSettings.model_validate_json(group.model_dump_json(exclude_defaults=True)) == group


def test_seeds_are_the_documented_ones() -> None:
    """By level, strategy and targets; every target has its provider's prefix or is a seed itself."""
    seeds = seed_groups()
    assert list(seeds) == [
        "fast-flow", "standard-pro", "heavy-logic", "dispatcher", "deepseek-auto", "openai-auto", "gemini-auto",
        "auto:local", "auto:fast", "auto:smart",
    ]  # fmt: skip
    assert seeds["fast-flow"].targets == ("deepseek/deepseek-v4-flash", "openai/gpt-5.4-nano")
    assert seeds["standard-pro"].targets == ("openai/gpt-5.4-mini", "gemini/gemini-3-flash-preview")
    assert seeds["heavy-logic"].targets == ("xai/grok-4.3", "moonshot/kimi-k2.6", "deepseek/deepseek-v4-pro")
    assert seeds["dispatcher"].targets == ("fast-flow", "standard-pro", "heavy-logic")
    assert (seeds["dispatcher"].strategy, seeds["dispatcher"].selector) == (
        "classifier",
        "openai/gpt-5.4-nano",
    )
    levels = ("fast-flow", 2), ("standard-pro", 5), ("heavy-logic", 9), ("dispatcher", 10)
    assert all(seeds[name].logic_level == level for name, level in levels)
    targets = {target for group in seeds.values() for target in group.targets}
    assert all("/" in target or target in SEED_GROUPS for target in targets)


def test_seeds_have_no_fault() -> None:
    """With the default tiers."""
    assert find_faults(seed_groups(), ModelSettings().tiers) == {}


def groups_of(edges: dict[int, list[int]]) -> dict[str, GroupSettings]:
    return {
        f"g{name}": GroupSettings(targets=tuple(f"g{target}" for target in targets) or ("model",))
        for name, targets in edges.items()
    }


@given(
    st.dictionaries(
        st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4, unique=True), min_size=1, max_size=12
    )
)
def test_faults_are_circles_and_depth(edges: dict[int, list[int]]) -> None:
    """Exactly the groups from which a walk gets into a circle, or over ten deep, have a fault."""

    def depth(name: int, path: tuple[int, ...]) -> float:
        if name in path:
            return float("inf")
        inner = [depth(one, (*path, name)) for one in edges[name] if one in edges]
        return 1 + max(inner, default=0)

    faults = find_faults(groups_of(edges), {})
    assert {int(name[1:]) for name in faults} == {name for name in edges if depth(name, ()) > MAX_DEPTH}


@given(st.permutations(range(6)))
def test_faults_do_not_depend_on_the_order(order: list[int]) -> None:
    """Of definitions."""
    edges = {0: [1, 5], 1: [2], 2: [3], 3: [1], 4: [5], 5: []}
    faults = find_faults(groups_of({name: edges[name] for name in order}), {})
    assert set(faults) == {"g0", "g1", "g2", "g3"}


def test_thousands_of_groups_are_looked_through() -> None:
    """Neither a long chain nor a dense graph is walked way by way."""
    chain = groups_of({number: [number + 1] for number in range(3_000)})
    dense = groups_of({number: list(range(number + 1, min(number + 10, 200))) for number in range(200)})
    assert len(find_faults(chain, {})) == 3_000 - MAX_DEPTH
    assert len(find_faults(dense, {})) == 200 - MAX_DEPTH
