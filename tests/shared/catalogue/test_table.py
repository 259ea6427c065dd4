"""The built-in table says what the seeds' models cost, and where it knows that from."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
import tomli

from shared.catalogue import Bill, Catalogue
from shared.catalogue.table import ListedModel, builtin_table
from shared.settings import BUILTIN_PROVIDERS
from shared.usage import NO_USAGE, Usage

SEEDS = (
    "deepseek/deepseek-v4-flash", "openai/gpt-5.4-nano", "openai/gpt-5.4-mini", "gemini/gemini-3-flash-preview",
    "xai/grok-4.3", "moonshot/kimi-k2.6", "deepseek/deepseek-v4-pro",
)  # fmt: skip


def rows() -> dict[str, dict[str, Any]]:
    return tomli.loads((resources.files("shared.catalogue") / "models.toml").read_text())


@pytest.mark.parametrize("key", rows())
def test_row_is_whole(key: str) -> None:
    """A price, a source and its day; an answer fits into the context; what is cached costs no more."""
    row = ListedModel.model_validate(rows()[key])
    price = row.price
    assert price is not None
    assert 0 < price.input <= price.output
    assert price.cached is None or price.cached <= price.input
    assert row.as_of >= "2026-01-01"
    assert (row.output_limit_tokens or 0) <= (row.context_tokens or 10**9)
    assert key.partition("/")[0] in builtin_table().providers


@pytest.mark.parametrize("key", SEEDS)
def test_models_of_the_seeds_are_known(key: str) -> None:
    """By all that routing and costing ask."""
    row = ListedModel.model_validate(rows()[key])
    assert None not in (row.context_tokens, row.output_limit_tokens, row.inputs, row.tools, row.price)


def test_every_builtin_provider_is_known() -> None:
    """How it is paid for, and by its address."""
    known = builtin_table().providers
    assert [name for name in BUILTIN_PROVIDERS if name not in known] == []


@pytest.mark.parametrize(
    ("model", "counted", "when", "usd"),
    [
        # off-peak 10,000 x 0.15 + 90,000 cached x 0.003 + 1,000 x 0.60; twice that on Monday at 07:00
        ("deepseek/deepseek-v4-flash", (100_000, 90_000, 1_000), "2026-11-23T12:00", "0.00237"),
        ("deepseek/deepseek-v4-flash", (100_000, 90_000, 1_000), "2026-11-23T07:00", "0.00474"),
        # 1,000,000 x 0.20 + 1,000 x 1.25
        ("openai/gpt-5.4-nano", (1_000_000, 0, 1_000), "2026-11-23T12:00", "0.20125"),
        # over 272,000: 300,000 x 5.00 + 1,000 x 22.50
        ("openai/gpt-5.4", (300_000, 0, 1_000), "2026-11-23T12:00", "1.5225"),
        # introduced at half its price: 1,000 x 2 + 1,000 x 10 micro-USD
        ("gemini/gemini-4-argon", (1_000, 0, 1_000), "2026-11-30T12:00", "0.012"),
        ("gemini/gemini-4-argon", (1_000, 0, 1_000), "2026-12-01T12:00", "0.024"),
    ],
)
def test_well_known_bills(
    make_catalogue: Callable[..., Catalogue],
    at: Callable[[str], float],
    model: str,
    counted: tuple[int, int, int],
    when: str,
    usd: str,
) -> None:
    """Computed by hand from the makers' price pages, read on 21 November 2026."""
    provider, _, name = model.partition("/")
    read, cached, written = counted
    usage: Usage = {**NO_USAGE, "input_total": read, "input_cached": cached, "output_total": written}
    bill = make_catalogue().bill(provider, name, usage, at=at(when))
    assert bill == Bill(Decimal(usd), "computed")
