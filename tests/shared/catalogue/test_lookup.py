"""Which facts a model gets, when several sources, providers and names might mean it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.catalogue import Catalogue, ModelFacts
from shared.catalogue.names import find_name

MakeCatalogue = Callable[..., Catalogue]


def found(catalogue: Catalogue, provider: str, model: str) -> ModelFacts:
    facts = catalogue.find(provider, model)
    assert facts is not None
    return facts


@pytest.mark.parametrize(
    ("listed", "asked", "name"),
    [
        # a release behind the name, either way
        ("gpt-5.4-mini", "gpt-5.4-mini-2026-04-01", "gpt-5.4-mini"),
        ("gpt-5.4-mini-2026-04-01", "gpt-5.4-mini", "gpt-5.4-mini-2026-04-01"),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-haiku-4-5", "claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("deepseek-v4-flash", "deepseek-v4-flash:0731", "deepseek-v4-flash"),
        ("gemini-2.5-flash", "gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("gemini-2.5-pro", "gemini-2.5-pro-001", "gemini-2.5-pro"),
        ("grok-4.3", "GROK-4.3-latest", "grok-4.3"),
        # the name itself, the longest, the newest
        ("gpt-5 gpt-5-2025-08-07", "gpt-5-2025-08-07", "gpt-5-2025-08-07"),
        ("m m-preview", "m-preview-0415", "m-preview"),
        ("m-2026-01-05 m-2026-04-01 m-2025-12-31", "m", "m-2026-04-01"),
        # another model
        ("gpt-5", "gpt-5.4", None),
        ("gpt-5", "gpt-5-mini", None),
        ("gpt-5-mini", "gpt-5", None),
        ("gpt-5.4-mini", "gpt-5.4", None),
        ("claude-opus-4", "claude-opus-4-7", None),
        ("grok-4", "grok-4-20", None),
        ("llama3", "llama3:70b", None),
        ("gpt-5", "gpt-52026-04-01", None),
        ("", "gpt-5", None),
    ],
)
def test_name_stands_for_its_releases_only(listed: str, asked: str, name: str | None) -> None:
    assert find_name(listed.split(), asked) == name


@pytest.mark.parametrize("order", [1, -1])
def test_lookup_does_not_depend_on_the_order_of_the_list(order: int) -> None:
    names = ["m-0715", "m-2026-04-01", "m-latest", "m-0901"][::order]
    assert find_name(names, "m") == "m-latest"


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-5.4-mini"),
        ("openai", "gpt-5.4-mini-2026-03-17"),
        ("openrouter", "openai/gpt-5.4-mini"),
        ("opencode", "gpt-5.4-mini"),
    ],
)
def test_maker_prices_hold_at_resellers(make_catalogue: MakeCatalogue, provider: str, model: str) -> None:
    """By name, by a release of it, and with the maker in front, as resellers write it."""
    catalogue = make_catalogue()
    facts = found(catalogue, provider, model)
    assert facts.prices == found(catalogue, "openai", "gpt-5.4-mini").prices is not None
    assert (facts.provider, facts.model, facts.context_tokens) == (provider, model, 400_000)


def test_maker_goes_before_resellers_on_limits(make_catalogue: MakeCatalogue) -> None:
    """A reseller's list says 1,048,576 tokens of output where the maker says 384,000; its price is its own."""
    catalogue = make_catalogue(
        """
        [catalogue."openrouter/deepseek/deepseek-v4-pro"]
        price = { input = 9.0, output = 9.0 }
        [catalogue."novita/deepseek-v4-pro"]
        output_limit_tokens = 1_048_576
        [providers.novita]
        base_url = "https://api.novita.ai/openai"
        """
    )
    assert found(catalogue, "deepseek", "deepseek-v4-pro").output_limit_tokens == 384_000
    elsewhere = found(catalogue, "openrouter", "deepseek/deepseek-v4-pro")
    assert elsewhere.output_limit_tokens == 384_000
    assert elsewhere.prices != found(catalogue, "deepseek", "deepseek-v4-pro").prices


def test_operator_goes_before_the_maker_where_he_calls(make_catalogue: MakeCatalogue) -> None:
    """An entry for one provider holds there, and replaces only what it states."""
    catalogue = make_catalogue('[catalogue."opencode/deepseek-v4-pro"]\noutput_limit_tokens = 65_536')
    here, there = (found(catalogue, provider, "deepseek-v4-pro") for provider in ("opencode", "deepseek"))
    assert (here.output_limit_tokens, there.output_limit_tokens) == (65_536, 384_000)
    assert (here.prices, here.context_tokens) == (there.prices, there.context_tokens)


def test_makers_entry_of_the_operator_holds_everywhere(make_catalogue: MakeCatalogue) -> None:
    catalogue = make_catalogue(
        '[catalogue."deepseek/deepseek-v4-pro"]\nprice = { input = 7.0, output = 7.0 }'
    )
    prices = found(catalogue, "openrouter", "deepseek/deepseek-v4-pro").prices
    assert prices is not None
    assert prices.standing.rates.input == 7


def test_another_makers_name_in_front_is_another_model(make_catalogue: MakeCatalogue) -> None:
    """A fine-tuned model of somebody else is not the model it is named after."""
    facts = found(make_catalogue(), "openrouter", "somebody/kimi-k2.6")
    assert facts.prices is None


def test_resellers_price_is_nobody_elses(make_catalogue: MakeCatalogue) -> None:
    """What an unknown provider takes is unknown; what the model can do is not."""
    catalogue = make_catalogue(
        '[providers.proxy]\nbase_url = "https://proxy.example/v1"\nkey_env = "PROXY_KEY"\n'
        '[catalogue."opencode/big-pickle"]\ncontext_tokens = 200_000\nprice = { input = 1.0, output = 1.0 }'
    )
    model = found(catalogue, "proxy", "gpt-5.4-mini")
    assert (model.kind, model.prices, model.context_tokens) == (None, None, 400_000)
    other = found(catalogue, "proxy", "big-pickle")
    assert (other.kind, other.prices, other.context_tokens) == (None, None, 200_000)


def test_metered_provider_takes_what_makers_take(make_catalogue: MakeCatalogue) -> None:
    """One line makes a proxy's calls priced."""
    catalogue = make_catalogue(
        '[providers.proxy]\nbase_url = "https://proxy.example/v1"\n[catalogue."proxy/*"]\nkind = "metered"'
    )
    assert found(catalogue, "proxy", "gpt-5.4-mini").prices is not None


@pytest.mark.parametrize(
    ("entry", "model", "kind"),
    [
        ('base_url = "https://api.openai.com/v1"', "gpt-5.4-mini", "metered"),
        ('base_url = "https://opencode.ai/zen/v1"', "kimi-k2.6", "metered"),
        ('base_url = "https://opencode.ai/zen/go/v1"', "kimi-k2.6", "subscription"),
        ('base_url = "https://opencode.ai/inference/go/openai/v1"', "kimi-k2.6", "subscription"),
        ('base_url = "https://api.kimi.ai/coding/v1"', "k3", "subscription"),
        ('base_url = "https://token-plan-sgp.xiaomimimo.com/v1"', "mimo-v2.6-pro", "subscription"),
        ('base_url = "https://ollama.com"\nwire = "ollama"', "gpt-oss:120b", "subscription"),
        ('base_url = "http://gpu2:11434"\nwire = "ollama"', "gpt-oss:120b", "local"),
        ('base_url = "http://gpu2:11434"\nwire = "ollama"', "kimi-k2.6:cloud", "subscription"),
        ('base_url = "https://opencode.ai.example/zen/v1"', "kimi-k2.6", None),
    ],
)
def test_provider_is_known_by_its_address(
    make_catalogue: MakeCatalogue, entry: str, model: str, kind: str | None
) -> None:
    """An entry of any name is what it calls: one provider may have several."""
    assert found(make_catalogue(f"[providers.second]\n{entry}"), "second", model).kind == kind


def test_nothing_is_known_of_nothing(make_catalogue: MakeCatalogue) -> None:
    assert make_catalogue().find("nobody", "knows-this") is None


def test_facts_are_kept(make_catalogue: MakeCatalogue) -> None:
    """They are asked for each call."""
    catalogue = make_catalogue()
    assert catalogue.find("openai", "gpt-5.4") is catalogue.find("openai", "gpt-5.4")
