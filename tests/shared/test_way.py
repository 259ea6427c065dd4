"""Ways: what a job may be sent to, before and after a rating, and what each call asks for."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson
import pytest

from shared.chat import ChatRequest, parse_request
from shared.providers import Provider, ProviderRegistry
from shared.routing import MAX_CANDIDATES, NO_FACTS, Features, GroupBook, Router, features_of
from shared.routing.classifier import MAX_RATING_TOKENS
from shared.settings import GroupSettings, ModelSettings
from shared.way import Way, find_way, find_way_rated, read_tags, way_entries, way_fields

GROUPS: dict[str, dict[str, Any]] = {
    "rules": {"targets": ["p/small", "p/large"]},
    "alone": {"targets": ["p/small", "p/large"], "fallback": False},
    "rated": {"strategy": "classifier", "targets": ["p/small", "q/large"], "selector": "s/tiny"},
    "outer": {"strategy": "classifier", "targets": ["rated", "q/huge"], "selector": "s/other"},
    "many": {"targets": [f"p/m{n}" for n in range(15)]},
}


@pytest.fixture
def router() -> Router:
    providers = {name: Provider(name, "openai", f"http://{name}/v1") for name in "pqs"}
    groups = {name: GroupSettings.model_validate(group) for name, group in GROUPS.items()}
    return Router(ProviderRegistry(providers), ModelSettings(), "p", groups=GroupBook(file=groups))


def request(model: str, **fields: Any) -> ChatRequest:
    return parse_request({"model": model, "messages": [{"role": "user", "content": "hi"}], **fields})


def features() -> Features:
    return features_of(request("x"), b"{}")


def found(router: Router, model: str, **fields: Any) -> Way:
    return find_way(request(model, **fields), features, router, NO_FACTS)


def names(way: Way) -> list[str]:
    return [f"{one.provider}/{one.model}" for one in way.candidates]


def test_plain_name_has_one_candidate_and_no_chain(router: Router) -> None:
    assert found(router, "q/x")[1:] == ((), None, (), ())


def test_other_targets_are_gone_on_with(router: Router) -> None:
    assert names(found(router, "rules")) == ["p/small", "p/large"]
    assert names(found(router, "alone")) == ["p/small"]


def test_fallbacks_come_last_and_may_be_groups(router: Router) -> None:
    """Where a group among them wants a rating, its rules decide."""
    assert names(found(router, "alone", fallbacks=["q/x", "rated"])) == [
        "p/small", "q/x", "q/large",
    ]  # fmt: skip


def test_group_that_is_a_fallback_says_what_it_decided(router: Router) -> None:
    """Behind where the model itself leads; the record keeps it through a rating."""
    way = found(router, "q/x", fallbacks=["rules", "p/y"])
    assert way.chain == ("q/x",)
    assert way.fallback_chain == ("else rules (no rule)", "p/small")
    both = way_fields(found(router, "rated", fallbacks=["rules"]), tags=())
    assert both["chain"] == ("rated (asks s/tiny)",)
    assert both["fallback_chain"] == ("else rules (no rule)", "p/small")


def test_plain_fallbacks_are_no_decisions(router: Router) -> None:
    assert found(router, "q/x", fallbacks=["p/y"]).chain == ()


def test_selector_comes_first_and_then_what_the_rules_choose(router: Router) -> None:
    way = found(router, "rated", fallbacks=["q/x"])
    assert names(way) == ["s/tiny", "p/small", "q/large", "q/x"]
    assert way.chain == ("rated (asks s/tiny)",)
    assert way.unrated_chain == ("rated (no rating, no rule)", "p/small")


def test_rating_leads_to_its_target_and_keeps_the_fallbacks(router: Router) -> None:
    asked = found(router, "rated", fallbacks=["q/x"])
    assert asked.selection is not None
    way = find_way_rated(asked.selection, 2, request("rated"), features, router, NO_FACTS)
    assert names(way) == ["q/large", "p/small", "q/x"]
    assert way.chain == ("rated (rating 2/2)", "q/large")


def test_chosen_group_may_want_a_rating_as_well(router: Router) -> None:
    """Two levels: the second selector is asked after the first, and the decisions add up."""
    asked = found(router, "outer")
    assert asked.selection is not None
    way = find_way_rated(asked.selection, 1, request("outer"), features, router, NO_FACTS)
    assert way.selection is not None
    assert names(way) == ["s/tiny", "p/small", "q/large", "q/huge"]
    last = find_way_rated(way.selection, 2, request("outer"), features, router, NO_FACTS)
    assert names(last) == ["q/large", "p/small", "q/huge"]
    assert last.chain == ("outer (rating 1/2)", "rated (rating 2/2)", "q/large")


def test_candidates_have_an_end(router: Router) -> None:
    assert len(found(router, "many", fallbacks=["rules", "q/x"]).candidates) == MAX_CANDIDATES


def test_first_call_of_a_rated_job_is_the_rating(router: Router) -> None:
    """The store books what a rating asks for, and on the way on what the job's own call does."""
    entries, first = way_entries(found(router, "rated"), features, 5_000, 900)
    assert entries == [
        ("s", "tiny", *first, "rating"), ("p", "small", 5_000, 900), ("q", "large", 5_000, 900),
    ]  # fmt: skip
    assert first[0] < 300
    assert first[1] == MAX_RATING_TOKENS


def test_own_call_comes_first_without_a_rating(router: Router) -> None:
    assert way_entries(found(router, "rules"), features, 5_000, 900) == (
        [("p", "small"), ("p", "large")],
        (5_000, 900),
    )


def test_record_says_what_groups_decided(router: Router) -> None:
    plain = way_fields(found(router, "rules"), tags=[])
    assert list(plain) == ["candidates", "chain"]
    rated = way_fields(found(router, "rated"), tags=["a"])
    assert rated["selection"]["tags"] == ["a"]
    assert rated["unrated_chain"] == ("rated (no rating, no rule)", "p/small")


def test_features_are_read_only_when_asked_for(router: Router) -> None:
    """A failover group looks at nothing."""

    def refuse() -> Features:
        raise AssertionError("nobody needs them")

    router.follow(GroupBook(file={"f": GroupSettings(strategy="failover", targets=("p/a", "q/b"))}))
    assert names(find_way(request("f"), partial(refuse), router, NO_FACTS)) == ["p/a", "q/b"]


@pytest.mark.parametrize("model", ["rules", "rated"])
def test_tags_are_read_from_a_record(router: Router, model: str) -> None:
    """Whether a rating is wanted or not."""
    assert read_tags(orjson.loads(orjson.dumps(way_fields(found(router, model), tags=["a", "b"])))) == (
        "a",
        "b",
    )


@pytest.mark.parametrize("junk", [{}, {"tags": "abc"}, {"selection": {"tags": 7}}, {"selection": []}])
def test_junk_has_no_tags(junk: dict[str, Any]) -> None:
    assert read_tags(junk) == ()
