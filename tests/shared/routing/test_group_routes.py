"""Groups at work: strategies, ratings, what is gone on with, and what cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chat import ChatRequest, parse_request
from shared.errors import InvalidRequest, ProviderNotFound
from shared.job import Candidate, Lane
from shared.providers import Provider, ProviderRegistry
from shared.routing import MAX_CANDIDATES, Features, GroupBook, Route, Router, Selection
from shared.settings import GroupSettings, ModelSettings, seed_groups

PROVIDERS = ("ollama", "openai", "deepseek", "gemini", "xai", "moonshot")
REQUEST = parse_request({"model": "m", "messages": [{"role": "user", "content": "x"}]})


class Known:
    """Facts by `provider/model`."""

    def __init__(
        self,
        *,
        closed: set[str] | None = None,
        usd: Mapping[str, str] | None = None,
        p50_s: Mapping[str, float] | None = None,
        finish_in_s: Mapping[str, float] | None = None,
    ) -> None:
        self.closed, self.usd = closed or set(), usd or {}
        self.usual, self.finish = p50_s or {}, finish_in_s or {}
        self.sizes: set[tuple[int, int]] = set()

    def is_open(self, candidate: Candidate) -> bool:
        return name_of(candidate) in self.closed

    def price_usd(self, candidate: Candidate, input_tokens: int, output_tokens: int) -> Decimal | None:
        self.sizes.add((input_tokens, output_tokens))
        price = self.usd.get(name_of(candidate))
        return None if price is None else Decimal(price)

    def p50_s(self, candidate: Candidate) -> float | None:
        return self.usual.get(name_of(candidate))

    def finish_in_s(self, candidate: Candidate) -> float | None:
        return self.finish.get(name_of(candidate))


def name_of(candidate: Candidate) -> str:
    return f"{candidate.provider}/{candidate.model}"


def router(
    groups: Mapping[str, Any],
    *,
    on: tuple[str, ...] = PROVIDERS,
    tiers: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Router:
    """A router with these groups, given as their fields or as a list of targets."""
    fields = {name: {"targets": one} if isinstance(one, list) else one for name, one in groups.items()}
    file = {name: GroupSettings.model_validate(one) for name, one in fields.items()}
    models = ModelSettings.model_validate(tiers or {})
    registry = ProviderRegistry(
        {name: Provider(name, "openai", "http://x") for name in on},
        reasons={name: f"no key: set {name.upper()}_API_KEY" for name in PROVIDERS if name not in on},
    )
    book = GroupBook(seeds=seed_groups(), file=file, tiers=models.tiers)
    return Router(registry, models, "ollama", groups=book, random=Random(seed))


def found(**fields: Any) -> Callable[[], Features]:
    return lambda: Features(**fields)


def unasked() -> Features:
    raise AssertionError("nobody needs the features")


def names(route: Route) -> list[str]:
    return [name_of(candidate) for candidate in route.candidates]


def routed(groups: Mapping[str, Any], facts: Known | None = None, **options: Any) -> list[str]:
    return names(router(groups, **options).route("g", REQUEST, found(), facts or Known()))


ABC = ["openai/a", "openai/b", "openai/c"]


# names


def test_name_of_no_group_is_resolved_as_ever() -> None:
    """Nobody looks at the request."""
    assert router({}).route("openai/a", REQUEST, unasked).reason == "prefix 'openai' names a provider"


def test_tier_may_stand_for_a_group() -> None:
    """And a target for a tier."""
    route = router({"g": ["t2"]}, tiers={"t": "g", "t2": "openai/a"}).route("t", REQUEST, found())
    assert (route.requested, route.tier, route.chain) == ("t", "t", ("g (no rule)", "openai/a"))


def test_prefix_and_tier_go_before_a_group() -> None:
    """In this order."""
    resolver = router({"g": ["openai/a"]}, tiers={"local_fast": "ollama/x"})
    assert names(resolver.route("ollama/g", REQUEST, unasked)) == ["ollama/g"]
    assert resolver.group_of("ollama/g") is None
    assert resolver.group_of("g") is not None


def test_group_goes_before_suffix_and_bare_name() -> None:
    """Its name may look like a model's."""
    assert names(router({"x:cloud": ["openai/a"]}).route("x:cloud", REQUEST, found())) == ["openai/a"]


def test_group_without_a_request_is_resolved_as_for_an_empty_prompt() -> None:
    """Jobs of plain RQ and listings have nothing else; nothing is rated."""
    route = router({}).resolve("dispatcher")
    assert route.chain == ("dispatcher (no rule)", "fast-flow (cheapest)", "deepseek/deepseek-v4-flash")
    assert route.selection is None


def test_new_groups_count_at_once() -> None:
    """Nothing of the old ones is kept."""
    resolver = router({"g": ["openai/a"]})
    assert names(resolver.resolve("g")) == ["openai/a"]
    assert names(resolver.resolve("new")) == ["ollama/new"]
    changed = {"g": GroupSettings(targets=("new",)), "new": GroupSettings(targets=("xai/b",))}
    resolver.follow(GroupBook(file=changed))
    assert names(resolver.resolve("g")) == names(resolver.resolve("new")) == ["xai/b"]


def test_route_of_a_group_prints_its_chain() -> None:
    """Behind the keys that every route has."""
    route = router({"g": ABC}).route("g", REQUEST, found())
    shown = route.as_dict(Lane.DEFAULT)
    assert shown["queue"] == "openai.default"
    assert shown["reason"] == "g (no rule) → openai/a"
    assert shown["chain"] == ["g (no rule)", "openai/a"]


# strategies


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"is_complex": True}, ["c", "b", "a"]),
        ({"needs_reasoning": True}, ["b", "c", "a"]),
    ],
)
def test_others_follow_the_nearest_stronger_first(features: dict[str, Any], expected: list[str]) -> None:
    """Up to the strongest, then the weaker ones."""
    rule = {"rule_id": "r", "primary_model": "openai/b", "conditions": {"requires_reasoning": True}}
    route = router({"g": {"targets": ABC, "rules": [rule]}}).route("g", REQUEST, found(**features))
    assert names(route) == [f"openai/{name}" for name in expected]


def test_fallback_model_of_a_rule_comes_second() -> None:
    """Before what the group would go on with."""
    rule = {
        "rule_id": "r",
        "primary_model": "openai/b",
        "fallback_model": "openai/a",
        "conditions": {"is_default_fallback": True},
    }
    assert routed({"g": {"targets": ABC, "rules": [rule]}}) == ["openai/b", "openai/a", "openai/c"]


def test_rules_stay_with_their_choice_while_it_is_closed() -> None:
    """The queue moves a job on when that lasts; a short wait is no reason for another model."""
    assert routed({"g": ABC}, Known(closed={"openai/a"})) == ABC


@pytest.mark.parametrize(
    ("closed", "expected"),
    [(set(), ABC), ({"openai/a"}, ["openai/b", "openai/c", "openai/a"]), (set(ABC), ABC)],
)
def test_failover_takes_the_first_that_is_up(closed: set[str], expected: list[str]) -> None:
    """Those that are closed come last; with all closed the best one is waited for."""
    group = {"targets": ABC, "strategy": "failover"}
    route = router({"g": group}).route("g", REQUEST, unasked, Known(closed=closed))
    assert names(route) == expected


def test_cheapest_goes_by_the_price_of_this_request() -> None:
    """Unknown prices come last, closed targets behind them."""
    facts = Known(usd={"openai/a": "0.02", "openai/b": "0.01", "xai/d": "0.001"}, closed={"xai/d"})
    group = {"targets": ["openai/c", "openai/a", "openai/b", "xai/d"], "strategy": "cheapest"}
    request = parse_request({**REQUEST.body(), "max_tokens": 77})
    route = router({"g": group}).route("g", request, found(input_tokens=1234), facts)
    assert names(route) == ["openai/b", "openai/a", "openai/c", "xai/d"]
    assert facts.sizes == {(1234, 77)}


@pytest.mark.parametrize(("strategy", "fact"), [("fastest", "p50_s"), ("least_busy", "finish_in_s")])
def test_shortest_time_wins(strategy: str, fact: str) -> None:
    """What never answered comes last, before what is closed."""
    group = {"g": {"targets": ["openai/dead", *ABC, "openai/closed"], "strategy": strategy}}
    seconds = {"openai/a": 3.0, "openai/b": 1.0, "openai/c": 2.0, "openai/dead": inf, "openai/closed": 0.5}
    assert routed(group, Known(**{fact: seconds}, closed={"openai/closed"})) == [
        "openai/b",
        "openai/c",
        "openai/a",
        "openai/dead",
        "openai/closed",
    ]


@pytest.mark.parametrize(
    ("strategy", "fact", "expected"),
    [
        ("fastest", "p50_s", ["openai/c", "openai/b", "openai/a"]),
        ("least_busy", "finish_in_s", ["openai/b", "openai/a", "openai/c"]),
    ],
)
def test_what_is_not_known(strategy: str, fact: str, expected: list[str]) -> None:
    """How fast it is, is found out by trying; where no finish is known, a job might wait for ever."""
    group = {"g": {"targets": ABC, "strategy": strategy}}
    assert routed(group, Known(**{fact: {"openai/a": 3.0, "openai/b": 1.0}})) == expected


@pytest.mark.parametrize("strategy", ["failover", "cheapest", "fastest", "least_busy"])
def test_without_facts_the_order_of_the_group_holds(strategy: str) -> None:
    """And between equals."""
    assert routed({"g": {"targets": ABC, "strategy": strategy}}) == ABC


def test_weighted_shares_by_weight() -> None:
    """Also what is gone on with; a weight of 0 comes last."""
    resolver = router({"g": {"targets": ABC, "strategy": "weighted", "weights": [3, 1, 0]}})
    orders = Counter(tuple(names(resolver.route("g", REQUEST, unasked))) for _ in range(2_000))
    assert set(orders) == {tuple(ABC), ("openai/b", "openai/a", "openai/c")}
    assert orders[tuple(ABC)] == pytest.approx(1_500, rel=0.1)


@given(st.integers())
def test_weighted_follows_its_random_source(seed: int) -> None:
    """The same numbers, the same routes."""
    group = {"g": {"targets": ABC, "strategy": "weighted", "weights": [1, 1, 1]}}
    assert routed(group, seed=seed) == routed(group, seed=seed)


@given(
    st.permutations(ABC),
    st.fixed_dictionaries({name: st.integers(1, 10**6) for name in ABC}),
    st.sampled_from(["cheapest", "fastest", "least_busy"]),
)
def test_order_of_targets_does_not_matter_to_measures(
    targets: list[str], measures: dict[str, int], strategy: str
) -> None:
    """The best one is chosen wherever it stands, unless others are as good."""
    if len(set(measures.values())) < len(measures):
        return
    facts = Known(
        usd={name: str(value) for name, value in measures.items()},
        p50_s=measures,
        finish_in_s=measures,
    )
    group = {"g": {"targets": targets, "strategy": strategy}}
    assert routed(group, facts) == sorted(ABC, key=lambda name: measures[name])


# groups in groups


def test_inner_group_chooses_for_itself() -> None:
    """Its own candidates come together, in its order."""
    groups = {"g": ["inner", "xai/d"], "inner": {"targets": ABC, "strategy": "cheapest"}}
    assert routed(groups, Known(usd={"openai/c": "1"})) == ["openai/c", "openai/a", "openai/b", "xai/d"]


def test_inner_group_is_worth_what_its_choice_is() -> None:
    """And closed when all in it is."""
    groups = {
        "g": {"targets": ["xai/d", "inner"], "strategy": "cheapest"},
        "inner": {"targets": ABC, "strategy": "cheapest"},
    }
    prices = {"xai/d": "2", "openai/b": "1", "openai/a": "3"}
    assert routed(groups, Known(usd=prices))[0] == "openai/b"
    assert routed(groups, Known(usd=prices, closed={"openai/b"}))[0] == "xai/d"
    assert routed(groups, Known(usd=prices, closed=set(ABC)))[0] == "xai/d"


def test_candidates_are_each_there_once() -> None:
    """Whichever way they are reached."""
    assert routed(
        {"g": ["inner", "openai/a", "inner2"], "inner": ["openai/b", "openai/a"], "inner2": ABC}
    ) == [
        "openai/b",
        "openai/a",
        "openai/c",
    ]


def test_candidates_are_sixteen_at_most() -> None:
    """As many as a job takes."""
    groups = {"g": ["x", "y"], "x": [f"openai/{n}" for n in range(15)], "y": [f"xai/{n}" for n in range(15)]}
    assert len(routed(groups)) == MAX_CANDIDATES


def test_dense_groups_are_asked_once_each() -> None:
    """Ten levels of fifteen would be 15 ** 10 ways."""
    groups = {f"g{n}": [f"g{m}" for m in range(n + 1, 10)] or ["openai/a"] for n in range(10)}
    assert names(router(groups).route("g0", REQUEST, found())) == ["openai/a"]


def test_no_fallback_means_the_chosen_target_alone() -> None:
    """What the target itself goes on with stays."""
    groups = {"g": {"targets": ["inner", "xai/d"], "fallback": False}, "inner": ["openai/a", "openai/b"]}
    assert routed(groups) == ["openai/a", "openai/b"]


# what is not registered


def test_unregistered_targets_are_skipped() -> None:
    """Also the one that was chosen, whether or not the others are gone on with."""
    targets = ["deepseek/a", "openai/b", "gemini/c"]
    assert routed({"g": targets}, on=("openai",)) == ["openai/b"]
    assert routed({"g": {"targets": targets, "fallback": False}}, on=("openai", "gemini")) == ["openai/b"]


def test_target_that_is_no_model_is_skipped() -> None:
    """A prefix alone, or a name over 256 characters."""
    assert routed({"g": ["openai/", "x" * 256, "openai/b"]}, on=("openai",)) == ["openai/b"]


def test_nothing_registered_is_refused() -> None:
    """With what to do about each provider."""
    with pytest.raises(ProviderNotFound) as caught:
        router({"g": ["heavy-logic", "openai/x"]}, on=("ollama",)).route("g", REQUEST, found())
    assert caught.value.provider == "openai"
    assert str(caught.value) == (
        "group 'g' leads to no registered provider: 'openai' is not registered, no key: set OPENAI_API_KEY; "
        "'xai' is not registered, no key: set XAI_API_KEY; "
        "'moonshot' is not registered, no key: set MOONSHOT_API_KEY; "
        "'deepseek' is not registered, no key: set DEEPSEEK_API_KEY"
    )


@pytest.mark.parametrize("model", ["a", "b", "outer", "tier"])
def test_circle_is_refused_at_use(model: str) -> None:
    """Naming it; other groups go on."""
    resolver = router({"a": ["b"], "b": ["a"], "outer": ["a", "xai/d"], "fine": ABC}, tiers={"tier": "b"})
    for refused in (lambda: resolver.resolve(model), lambda: resolver.route(model, REQUEST, found())):
        with pytest.raises(InvalidRequest, match="leads into a circle: a -> b -> a"):
            refused()
    assert names(resolver.resolve("fine")) == ABC


def test_too_deep_is_refused_at_use() -> None:
    """Ten levels are fine."""
    resolver = router({f"g{n}": [f"g{n + 1}"] for n in range(11)} | {"g11": ABC})
    with pytest.raises(InvalidRequest, match="group 'g1' is nested over 10 deep: g1 -> "):
        resolver.resolve("g1")
    assert names(resolver.resolve("g2")) == ABC


# ratings

DISPATCH = {
    "targets": ["openai/small", "xai/middle", "deepseek/large"],
    "strategy": "classifier",
    "selector": "gemini/rater",
    "complexity_threshold": 10,
    "selector_timeout_s": 5.0,
    "cache_s": 60.0,
}


def test_classifier_wants_a_rating_first() -> None:
    """The candidates are the selector's until it has answered."""
    route = router({"g": DISPATCH}).route("g", REQUEST, found())
    selection = route.selection
    assert selection is not None
    assert names(route) == ["gemini/rater"]
    assert route.candidates == selection.candidates
    assert route.chain == ("g (asks gemini/rater)",)
    assert (selection.group_id, selection.scale, selection.timeout_s, selection.cache_s) == (
        "g",
        10,
        5.0,
        60.0,
    )
    assert (selection.chain, selection.rest) == ((), ())


def wanted(resolver: Router, name: str = "g") -> Selection:
    """The rating that a group wants."""
    selection = resolver.route(name, REQUEST, found()).selection
    assert selection is not None
    return selection


@pytest.mark.parametrize(
    ("rating", "expected"),
    [
        (1, ["openai/small", "xai/middle", "deepseek/large"]),
        (3, ["openai/small", "xai/middle", "deepseek/large"]),
        (4, ["xai/middle", "deepseek/large", "openai/small"]),
        (7, ["xai/middle", "deepseek/large", "openai/small"]),
        (8, ["deepseek/large", "xai/middle", "openai/small"]),
        (10, ["deepseek/large", "xai/middle", "openai/small"]),
        (99, ["deepseek/large", "xai/middle", "openai/small"]),
        (-1, ["openai/small", "xai/middle", "deepseek/large"]),
    ],
)
def test_rating_chooses_the_target(rating: int, expected: list[str]) -> None:
    """Then the nearest stronger ones, then the weaker ones."""
    resolver = router({"g": DISPATCH})
    route = resolver.select(wanted(resolver), rating, REQUEST, unasked)
    assert names(route) == expected
    assert route.selection is None
    assert route.chain == (f"g (rating {min(max(rating, 1), 10)}/10)", expected[0])


@pytest.mark.parametrize(("is_complex", "first"), [(False, "openai/small"), (True, "deepseek/large")])
def test_without_a_rating_the_rules_decide(is_complex: bool, first: str) -> None:
    """The selector failed, or took too long."""
    resolver = router({"g": DISPATCH})
    route = resolver.select(wanted(resolver), None, REQUEST, found(is_complex=is_complex))
    assert names(route)[0] == first
    assert route.chain[0] == f"g (no rating, {'complex task' if is_complex else 'no rule'})"


def test_selector_that_is_off_is_not_waited_for() -> None:
    """The rules decide at once."""
    route = router({"g": DISPATCH}, on=("openai", "xai")).route("g", REQUEST, found(is_complex=True))
    assert route.selection is None
    assert route.chain == ("g (selector is off, complex task)", "xai/middle")


def test_nothing_is_rated_when_there_is_no_choice() -> None:
    """One target that is registered is the one."""
    route = router({"g": DISPATCH}, on=("xai", "gemini")).route("g", REQUEST, found())
    assert route.selection is None
    assert names(route) == ["xai/middle"]


def test_no_fallback_holds_after_a_rating() -> None:
    """The rated target alone."""
    resolver = router({"g": {**DISPATCH, "fallback": False}})
    assert names(resolver.select(wanted(resolver), 5, REQUEST, unasked)) == ["xai/middle"]


def test_selector_may_be_a_group() -> None:
    """Of which all may be asked."""
    groups = {"g": {**DISPATCH, "selector": "raters"}, "raters": ["openai/r", "xai/r"]}
    assert names(router(groups).route("g", REQUEST, found())) == ["openai/r", "xai/r"]


def test_seed_dispatcher_goes_through_two_levels() -> None:
    """Its rating, the tier's cheapest, and that model."""
    resolver, facts = router({}), Known(usd={"moonshot/kimi-k2.6": "0.1"})
    route = resolver.select(wanted(resolver, "dispatcher"), 9, REQUEST, found(), facts)
    assert route.chain == ("dispatcher (rating 9/10)", "heavy-logic (cheapest)", "moonshot/kimi-k2.6")
    assert names(route) == [
        "moonshot/kimi-k2.6", "xai/grok-4.3", "deepseek/deepseek-v4-pro",
        "openai/gpt-5.4-mini", "gemini/gemini-3-flash-preview",
        "deepseek/deepseek-v4-flash", "openai/gpt-5.4-nano",
    ]  # fmt: skip


def test_second_classifier_wants_its_own_rating() -> None:
    """The chain goes on, and what the first one would go on with stays behind."""
    groups = {
        "g": {**DISPATCH, "targets": ["openai/small", "inner"]},
        "inner": {**DISPATCH, "targets": ["xai/c", "xai/d"], "selector": "gemini/other"},
    }
    resolver = router(groups)
    second = resolver.select(wanted(resolver), 10, REQUEST, found())
    assert second.selection is not None
    assert names(second) == ["gemini/other"]
    assert second.chain == ("g (rating 10/10)", "inner (asks gemini/other)")
    last = resolver.select(second.selection, 10, REQUEST, found())
    assert last.chain == ("g (rating 10/10)", "inner (rating 10/10)", "xai/d")
    assert names(last) == ["xai/d", "xai/c", "openai/small"]


def test_groups_around_a_classifier_are_gone_on_with() -> None:
    """A classifier that is not the choice is resolved by its rules."""
    groups = {"g": ["inner", "moonshot/m"], "first": ["moonshot/m", "inner"], "inner": DISPATCH}
    resolver = router(groups)
    selection = resolver.route("g", REQUEST, found()).selection
    assert selection is not None
    assert (selection.chain, selection.rest) == (("g (no rule)",), (Candidate("moonshot", "m"),))
    other = resolver.route("first", REQUEST, found())
    assert other.selection is None
    assert names(other) == ["moonshot/m", "openai/small", "xai/middle", "deepseek/large"]


def test_rated_group_that_leads_nowhere_leaves_the_rest() -> None:
    """Its targets are not registered where the rating arrives."""
    rest = (Candidate("moonshot", "m"),)
    selection = replace(wanted(router({"g": DISPATCH})), chain=("outer (no rule)",), rest=rest)
    route = router({"g": DISPATCH}, on=("moonshot",)).select(selection, 5, REQUEST, found())
    assert route.candidates == rest
    assert route.chain == ("outer (no rule)", "moonshot/m")


@pytest.mark.parametrize(
    "now",
    [{}, {"g": {"targets": ABC, "strategy": "failover"}}, {"g": {**DISPATCH, "complexity_threshold": 100}}],
)
def test_rating_means_what_it_did_when_it_was_wanted(now: dict[str, Any]) -> None:
    """Whatever has become of the group while its selector was asked."""
    selection = wanted(router({"g": DISPATCH}))
    route = router(now).select(selection, 5, REQUEST, unasked)
    assert route.chain == ("g (rating 5/10)", "xai/middle")


def test_target_that_was_a_group_and_is_none_here_is_refused() -> None:
    """Its name must not pass for a model."""
    selection = wanted(router({"g": {**DISPATCH, "targets": ["ollama/a", "inner"]}, "inner": ABC}))
    with pytest.raises(InvalidRequest, match="group 'inner', a target of 'g', does not exist here"):
        router({}).select(selection, 10, REQUEST, unasked)


def test_junk_targets_are_refused() -> None:
    """What is wanted comes from Redis."""
    selection = replace(wanted(router({"g": DISPATCH})), targets=("", " "))
    with pytest.raises(InvalidRequest, match="is no group"):
        router({}).select(selection, 5, REQUEST, unasked)


def test_rules_of_a_group_that_is_gone_decide_nothing() -> None:
    selection = wanted(router({"g": DISPATCH}))
    with pytest.raises(InvalidRequest, match="group 'g' does not exist any more"):
        router({}).select(selection, None, REQUEST, found())


# any groups at all

MODELS = st.sampled_from(
    [f"{provider}/{model}" for provider in ("openai", "xai", "gemini") for model in "ab"]
)
GROUPS = st.dictionaries(
    st.sampled_from("pqrst"),
    st.fixed_dictionaries(
        {
            "targets": st.lists(st.one_of(MODELS, st.sampled_from("pqrst")), min_size=1, max_size=4),
            "strategy": st.sampled_from(
                ["heuristic", "classifier", "failover", "cheapest", "fastest", "least_busy"]
            ),
            "selector": st.one_of(MODELS, st.sampled_from("pqrst")),
            "fallback": st.booleans(),
        }
    ),
    min_size=1,
)


@given(GROUPS, st.booleans(), st.sets(MODELS), st.integers(1, 3))
def test_any_groups_route_or_refuse(
    groups: dict[str, Any], is_complex: bool, closed: set[str], rating: int
) -> None:
    """To registered candidates, each once, with a chain that ends at the first; ratings come to an end."""
    resolver = router(groups, on=("ollama", "openai", "xai"))
    features, facts = found(is_complex=is_complex), Known(closed=closed)
    for name in groups:
        try:
            route = resolver.route(name, REQUEST, features, facts)
            for _ in range(10):
                if (selection := route.selection) is None:
                    break
                route = resolver.select(selection, rating, REQUEST, features, facts)
        except (InvalidRequest, ProviderNotFound):
            continue
        assert route.selection is None
        assert route.chain[0].startswith(f"{name} (")
        assert route.chain[-1] == name_of(route.candidates[0])
        assert len(set(route.candidates)) == len(route.candidates)
        assert {candidate.provider for candidate in route.candidates} <= {"ollama", "openai", "xai"}


def test_request_is_not_needed_as_a_whole() -> None:
    """Only its limit on the answer is looked at; the prompt is known by its features."""
    empty = ChatRequest.model_construct(max_tokens=5)
    assert names(router({"g": ABC}).route("g", empty, found())) == ABC
