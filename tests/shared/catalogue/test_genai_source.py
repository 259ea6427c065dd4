"""genai-prices fills what neither operator nor table knows, and nothing needs it to be there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices.data import providers
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from shared.catalogue import Catalogue
from shared.catalogue.genai_source import GenaiPrices, price_list_of
from shared.catalogue.table import Shelves
from shared.settings.provider import builtin_providers
from shared.usage import NO_USAGE, Usage

AT = datetime(2026, 11, 23, 7, 30, tzinfo=UTC)


def test_model_that_the_table_has_not_is_priced(make_catalogue: Callable[..., Catalogue]) -> None:
    facts = make_catalogue().find("openai", "gpt-3.5-turbo")
    assert facts is not None
    assert facts.prices is not None
    assert facts.source.startswith("genai-prices ")


def test_provider_is_known_by_its_address(make_catalogue: Callable[..., Catalogue]) -> None:
    """Whatever its entry is called."""
    catalogue = make_catalogue('[providers.fast]\nbase_url = "https://api.groq.com/openai/v1"\nkey_env = "K"')
    facts = catalogue.find("fast", "openai/gpt-oss-120b")
    assert facts is not None
    assert facts.kind == "metered"
    assert facts.prices is not None


def test_table_goes_first() -> None:
    """It is not even loaded for what the table prices."""

    def load() -> GenaiPrices:
        raise AssertionError("loaded")

    catalogue = Catalogue(builtin_providers(), Shelves({}), further=load)
    assert catalogue.find("openai", "gpt-5.4-mini")
    assert catalogue.find("ollama", "qwen3.5:latest")


def test_nothing_needs_it() -> None:
    """Without it the model is known to nobody."""
    catalogue = Catalogue(builtin_providers(), Shelves({}), further=lambda: None)
    catalogue.preload()
    facts = catalogue.find("openai", "gpt-3.5-turbo")
    assert facts is not None
    assert facts.prices is None


def test_bills_are_theirs() -> None:
    """For each model that both can price, ours is the bill that the package itself would write."""
    tokens = (150_000, 40_000, 3_000)
    usage: Usage = {
        **NO_USAGE, "input_total": tokens[0], "input_cached": tokens[1], "output_total": tokens[2],
    }  # fmt: skip
    source, compared = GenaiPrices(), 0
    for theirs in providers:
        if theirs.id not in ("openai", "google", "deepseek", "moonshotai", "x-ai", "anthropic", "groq"):
            continue
        for info in theirs.models:
            row = source.row(theirs.id, info.id)
            if row is None or row.prices is None:
                continue
            found = theirs.find_model(info.id)
            assert found is not None
            bill = found.calc_price(
                TheirUsage(input_tokens=tokens[0], cache_read_tokens=tokens[1], output_tokens=tokens[2]),
                theirs,
                genai_request_timestamp=AT,
            )
            assert row.prices.cost(usage, at=AT.timestamp()) == bill.total_price, info.id
            compared += 1
    assert compared > 150


def model(*prices: ConditionalPrice) -> ModelInfo:
    return ModelInfo(id="m", match=ClauseEquals("m"), prices=list(prices))


def flat(rate: int) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(rate), output_mtok=Decimal(rate))


def test_last_condition_that_holds_counts() -> None:
    found = price_list_of(
        model(
            ConditionalPrice(prices=flat(1)),
            ConditionalPrice(StartDateConstraint(date(2026, 11, 1)), prices=flat(2)),
            ConditionalPrice(TimeOfDateConstraint(time(7, tzinfo=UTC), time(8)), prices=flat(3)),
        )
    )
    assert found is not None
    moments = [AT, AT.replace(hour=12), AT.replace(month=10, hour=12)]
    assert [found.tariff_at(moment.timestamp()).rates.input for moment in moments] == [3, 2, 1]


def test_tiers_of_single_rates_become_tiers_of_all() -> None:
    tiered = TieredPrices(Decimal(1), [Tier(100, Decimal(2)), Tier(200, Decimal(3))])
    found = price_list_of(
        model(ConditionalPrice(prices=ModelPrice(input_mtok=tiered, output_mtok=Decimal(9))))
    )
    assert found is not None
    rates = [found.standing.rates_for(n) for n in (100, 101, 200, 201)]
    assert [(rate.input, rate.output) for rate in rates] == [(1, 9), (2, 9), (2, 9), (3, 9)]


@pytest.mark.parametrize(
    "price",
    [
        ModelPrice(input_mtok=Decimal(1)),
        ModelPrice(output_mtok=Decimal(1)),
        ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1), requests_kcount=Decimal(5)),
    ],
)
def test_price_that_tokens_do_not_tell_is_none(price: ModelPrice) -> None:
    assert price_list_of(model(ConditionalPrice(prices=price))) is None
    assert price_list_of(model()) is None
