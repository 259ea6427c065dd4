"""genai-prices (extra `prices`) as a source: its offline data, for what operator and table do not know."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from decimal import Decimal
from importlib.metadata import version

from genai_prices.data import providers
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from shared.catalogue.price_list import NOTHING, PriceList, Rates, Tariff, Term, Tier
from shared.catalogue.row import Row

_THEIR_NAMES = {"gemini": "google", "moonshot": "moonshotai", "xai": "x-ai"}
"""Our providers that they call otherwise."""

_SOURCE = f"genai-prices {version('genai-prices')}"


class GenaiPrices:
    """Their data, as a `Source`. A provider goes by our name, or theirs."""

    def __init__(self) -> None:
        self._providers = {provider.id: provider for provider in providers}

    def row(self, provider: str, model: str) -> Row | None:
        """See `Source.row`. Which name means which model is theirs to say."""
        theirs = self._providers.get(_THEIR_NAMES.get(provider, provider))
        info = theirs.find_model(model) if theirs else None
        if info is None:
            return None
        prices = price_list_of(info)
        return Row(
            source=_SOURCE,
            kind="metered" if prices else None,
            context_tokens=info.context_window,
            prices=prices,
        )

    def provider_at(self, base_url: str) -> str | None:
        """Their name of the provider with this address."""
        found = (name for name, theirs in self._providers.items() if re.match(theirs.api_pattern, base_url))
        return next(found, None)


def price_list_of(info: ModelInfo) -> PriceList | None:
    """Their prices in our order, since of theirs the last that holds counts; None where they say too little."""
    stated = info.prices if isinstance(info.prices, list) else [ConditionalPrice(prices=info.prices)]
    tariffs = [(_term(price.constraint), _tariff(price.prices)) for price in stated]
    if not tariffs or any(tariff is None for _, tariff in tariffs):
        return None
    (_, standing), *others = [(term, tariff) for term, tariff in tariffs if tariff is not None]
    return PriceList(standing, specials=tuple(reversed(others)))


def _term(constraint: StartDateConstraint | TimeOfDateConstraint | None) -> Term:
    match constraint:
        case StartDateConstraint():
            return Term(since=datetime.combine(constraint.start_date, time(), UTC).timestamp())
        case TimeOfDateConstraint():
            return Term(hours=((_minute(constraint.start_time), _minute(constraint.end_time)),))
        case None:
            return Term()


def _minute(clock: time) -> int:
    if clock.tzinfo is not None:
        clock = datetime.combine(datetime(1970, 1, 2), clock).astimezone(UTC).time()
    return clock.hour * 60 + clock.minute


def _tariff(price: ModelPrice) -> Tariff | None:
    """None without prices of both directions, or with one that a call's tokens do not tell (by the request)."""
    if price.input_mtok is None or price.output_mtok is None or price.requests_kcount:
        return None
    above = sorted(
        {
            tier.start
            for rate in price.__dict__.values()
            if isinstance(rate, TieredPrices)
            for tier in rate.tiers
        },
        reverse=True,
    )
    tiers = tuple(Tier(start, _rates(price, start + 1)) for start in above)
    return Tariff(_rates(price, 0), tiers)


def _rates(price: ModelPrice, input_tokens: int) -> Rates:
    rate = _rate(price.input_mtok, input_tokens, NOTHING)
    output = _rate(price.output_mtok, input_tokens, NOTHING)
    return Rates(
        input=rate,
        output=output,
        cached=_rate(price.cache_read_mtok, input_tokens, rate),
        cache_write=_rate(price.cache_write_mtok, input_tokens, rate),
        reasoning=_rate(price.output_reasoning_mtok, input_tokens, output),
    )


def _rate(stated: Decimal | TieredPrices | None, input_tokens: int, default: Decimal) -> Decimal:
    if not isinstance(stated, TieredPrices):
        return default if stated is None else stated
    reached = [tier.price for tier in stated.tiers if input_tokens > tier.start]
    return reached[-1] if reached else stated.base
