"""Every routing rule, as a table; and chatd's acceptance as far as routing decides it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest, ProviderNotFound
from shared.job import Candidate, Lane
from shared.providers import Provider, ProviderRegistry
from shared.routing import Router
from shared.routing.resolver import CACHE_SIZE, MAX_NAME_CHARS
from shared.settings import ModelSettings

ALL = ("ollama", "ollama_cloud", "openrouter", "opencode", "kimi", "my-lab")
TIERS = {
    "house": "my-lab/m",
    "chained": "house",
    "qwen": "qwen",
    "cloudy": "unknown/x:cloud",
    "hollow": "ollama/",
}


def router(*registered: str, default: str = "ollama") -> Router:
    """A router that knows ALL providers, of which some are registered."""
    on = {name: Provider(name, "openai", "http://x") for name in registered}
    off = {name: f"no key: set {name.upper()}_KEY" for name in ALL if name not in registered}
    return Router(ProviderRegistry(on, reasons=off), ModelSettings.model_validate(TIERS), default)


RULES = [
    # explicit provider, only the first prefix stripped
    ("ollama/qwen3:latest", None, "ollama", "qwen3:latest"),
    ("ollama/library/qwen3", None, "ollama", "library/qwen3"),
    ("ollama_cloud/gpt-oss:120b", None, "ollama_cloud", "gpt-oss:120b"),
    ("openrouter/anthropic/claude-opus-4-7", None, "openrouter", "anthropic/claude-opus-4-7"),
    ("openrouter/openrouter/auto", None, "openrouter", "openrouter/auto"),
    ("opencode/claude-opus-4-7", None, "opencode", "claude-opus-4-7"),
    ("kimi/k3", None, "kimi", "k3"),
    ("my-lab/a/b/c", None, "my-lab", "a/b/c"),
    # the explicit prefix wins over the suffix and over a tier's name behind it
    ("ollama/x:cloud", None, "ollama", "x:cloud"),
    ("openrouter/x:cloud", None, "openrouter", "x:cloud"),
    ("ollama/local_fast", None, "ollama", "local_fast"),
    # tiers, then the same rules
    ("local_fast", "local_fast", "ollama", "qwen3.5:latest"),
    ("local_embed", "local_embed", "ollama", "nomic-embed-text"),
    ("cloud_judge", "cloud_judge", "ollama_cloud", "kimi-k2.6"),
    ("cloud_review", "cloud_review", "ollama", "qwen3-coder:480b"),
    ("frontier_review", "frontier_review", "openrouter", "anthropic/claude-opus-4-7"),
    ("frontier_free", "frontier_free", "opencode", "claude-opus-4-7"),
    ("house", "house", "my-lab", "m"),
    ("chained", "chained", "my-lab", "m"),
    ("qwen", "qwen", "ollama", "qwen"),
    ("cloudy", "cloudy", "ollama_cloud", "unknown/x"),
    # suffix
    ("kimi-k2.6:cloud", None, "ollama_cloud", "kimi-k2.6"),
    ("gpt-oss:120b:cloud", None, "ollama_cloud", "gpt-oss:120b"),
    ("local_fast:cloud", None, "ollama_cloud", "local_fast"),
    ("unknown/x:cloud", None, "ollama_cloud", "unknown/x"),
    # bare names, unchanged
    ("qwen3:latest", None, "ollama", "qwen3:latest"),
    ("gpt-oss:120b-cloud", None, "ollama", "gpt-oss:120b-cloud"),
    ("x:CLOUD", None, "ollama", "x:CLOUD"),
    ("ollama", None, "ollama", "ollama"),
    ("unknown/m", None, "ollama", "unknown/m"),
    ("unknown/ollama/m", None, "ollama", "unknown/ollama/m"),
    ("Ollama/m", None, "ollama", "Ollama/m"),
    ("/m", None, "ollama", "/m"),
    (" ollama/m", None, "ollama", " ollama/m"),
    ("auto:cheap", None, "ollama", "auto:cheap"),
]


@pytest.mark.parametrize(
    ("model", "tier", "provider", "upstream_model"), RULES, ids=[row[0] for row in RULES]
)
def test_model_goes_where_the_rules_say(
    model: str, tier: str | None, provider: str, upstream_model: str
) -> None:
    """Explicit provider, then tier, then suffix, then bare name."""
    route = router(*ALL).resolve(model)
    assert (route.requested, route.tier) == (model, tier)
    assert route.candidates == (Candidate(provider, upstream_model),)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("openrouter/anthropic/x", "openrouter"),
        ("kimi-k2.6:cloud", "ollama_cloud"),
        ("cloud_judge", "ollama_cloud"),
        ("frontier_strong", "openrouter"),
        ("chained", "my-lab"),
        ("my-lab/x", "my-lab"),
    ],
)
def test_unregistered_provider_is_never_replaced(model: str, provider: str) -> None:
    """Named, by suffix or through a tier: refused, although the default provider is there."""
    with pytest.raises(ProviderNotFound) as caught:
        router("ollama").resolve(model)
    assert caught.value.provider == provider


@pytest.mark.parametrize("model", ["qwen3", "unknown/m", "local_fast", "ollama/m"])
def test_default_provider_that_is_off_refuses(model: str) -> None:
    """Nothing else takes over bare names either."""
    with pytest.raises(ProviderNotFound) as caught:
        router("openrouter", "ollama_cloud").resolve(model)
    assert caught.value.provider == "ollama"


def test_default_provider_is_a_setting() -> None:
    """Bare names go where the operator says."""
    route = router("my-lab", default="my-lab").resolve("unknown/m")
    assert route.candidates == (Candidate("my-lab", "unknown/m"),)


@pytest.mark.parametrize("model", ["", " ", "\t\n", "ollama/", "openrouter/ ", ":cloud", " :cloud", "hollow"])
def test_name_without_a_model_is_invalid(model: str) -> None:
    """Nothing is left to ask for; the field is named."""
    with pytest.raises(InvalidRequest) as caught:
        router(*ALL).resolve(model)
    assert caught.value.field == "model"


def test_name_of_any_length_is_not_kept() -> None:
    """The cache of routes is bounded in length as well as in number."""
    with pytest.raises(InvalidRequest) as caught:
        router(*ALL).resolve("x" * (MAX_NAME_CHARS + 1))
    assert str(caught.value) == "model name is over 256 characters"


def test_refusal_tells_the_whole_way() -> None:
    """From the name that was asked for to the variable that is missing, in one line."""
    with pytest.raises(ProviderNotFound) as caught:
        router("ollama").resolve("cloud_judge")
    assert str(caught.value) == (
        "model 'cloud_judge' (tier 'cloud_judge' is 'kimi-k2.6:cloud'; suffix ':cloud' means 'ollama_cloud'): "
        "provider 'ollama_cloud' is not registered; no key: set OLLAMA_CLOUD_KEY"
    )


def test_route_prints_as_documented() -> None:
    """The JSON of `chatq route` has exactly these keys, in this order."""
    route = router(*ALL).resolve("frontier_review")
    assert list(route.as_dict(Lane.BATCH).items()) == [
        ("requested", "frontier_review"),
        ("tier", "frontier_review"),
        ("provider", "openrouter"),
        ("upstream_model", "anthropic/claude-opus-4-7"),
        ("queue", "openrouter.batch"),
        ("candidates", [{"provider": "openrouter", "model": "anthropic/claude-opus-4-7"}]),
        (
            "reason",
            "tier 'frontier_review' is 'openrouter/anthropic/claude-opus-4-7'; "
            "prefix 'openrouter' names a provider",
        ),
    ]


@pytest.mark.parametrize("lane", Lane)
def test_queue_is_provider_and_lane(lane: Lane) -> None:
    """One queue per provider and lane."""
    assert router(*ALL).resolve("kimi/k3").queue(lane) == f"kimi.{lane.value}"


def test_routes_are_resolved_once() -> None:
    """Submitting a million jobs for one model resolves it once."""
    resolver = router(*ALL)
    assert resolver.resolve("qwen3") is resolver.resolve("qwen3")


def test_resolving_endless_names_stays_right() -> None:
    """More names than the cache holds push old ones out and change no answer."""
    resolver = router(*ALL)
    routes = [resolver.resolve(f"kimi/m{number}") for number in range(CACHE_SIZE + 10)]
    assert [route.upstream_model for route in routes] == [f"m{number}" for number in range(CACHE_SIZE + 10)]
    assert resolver.resolve("kimi/m0").upstream_model == "m0"


@given(st.text(max_size=40))
def test_any_name_is_routed_or_refused(model: str) -> None:
    """Whatever comes from outside: a registered provider and a model, or a typed error."""
    try:
        route = router("ollama", "kimi").resolve(model)
    except (InvalidRequest, ProviderNotFound):
        return
    assert route.provider in ("ollama", "kimi")
    assert route.upstream_model.strip()
    assert model.endswith(route.upstream_model) or route.tier
