"""What is known of one model at one provider, put together from all sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.catalogue.price_list import PriceList
from shared.catalogue.row import Row
from shared.settings.catalogue import Kind


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts on a model; None is what nobody knows.

    Attributes:
        provider: Name of its entry in the settings.
        model: As that provider calls it.
        kind: How its calls are paid for.
        context_tokens: Prompt and answer together at most.
        output_limit_tokens: Longest answer, reasoning included.
        inputs: What a message may hold: text, image, audio, video, file.
        tools: Whether it can call functions.
        needs_output_limit: Whether a request without `max_tokens` has to be given one.
        prices: What its calls cost, where they are metered.
        has_image_price: Whether images cost something by themselves, so that they have to be counted.
        source: Where price and limits are from, for people.
    """

    provider: str
    model: str
    kind: Kind | None = None
    context_tokens: int | None = None
    output_limit_tokens: int | None = None
    inputs: frozenset[str] | None = None
    tools: bool | None = None
    needs_output_limit: bool = False
    prices: PriceList | None = None
    has_image_price: bool = False
    source: str = ""


def combine(
    provider: str, model: str, *, kind: Kind | None, limits: Sequence[Row], prices: Sequence[Row]
) -> ModelFacts:
    """Take each fact from the first row that states it.

    Args:
        kind: How its calls are paid for.
        limits: Whom to believe on what the model can do, best first.
        prices: Whom to believe on what it costs.
    """
    priced = next((row for row in prices if row.prices is not None), None)
    prices_found = priced.prices if priced else None
    used = dict.fromkeys(_shown(row) for row in (priced, *limits[:1]) if row is not None)
    return ModelFacts(
        provider,
        model,
        kind=kind,
        context_tokens=next((row.context_tokens for row in limits if row.context_tokens), None),
        output_limit_tokens=next(
            (row.output_limit_tokens for row in limits if row.output_limit_tokens), None
        ),
        inputs=next((row.inputs for row in limits if row.inputs is not None), None),
        tools=next((row.tools for row in limits if row.tools is not None), None),
        needs_output_limit=next(
            (row.needs_output_limit for row in limits if row.needs_output_limit is not None), False
        ),
        prices=prices_found,
        has_image_price=prices_found is not None and prices_found.has_image_price,
        source="; ".join(used),
    )


def _shown(row: Row) -> str:
    return f"{row.source} ({row.as_of})" if row.as_of else row.source
