"""A row: what one source says of one model of one provider. All of it is optional but the source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol, get_args

from shared.catalogue.price_list import DAY_S, PriceList, Rates, Tariff, Term, Tier
from shared.settings.catalogue import Kind, ModelEntry, RateSettings, SpecialSettings, Weekday

_DAYS = get_args(Weekday)


@dataclass(frozen=True, slots=True)
class Row:
    """Facts from one source; None is what it does not say.

    Attributes:
        source: Where they are from, for people.
        as_of: The day they were read there, `YYYY-MM-DD`; empty for the operator's own.
    """

    source: str
    as_of: str = ""
    kind: Kind | None = None
    context_tokens: int | None = None
    output_limit_tokens: int | None = None
    inputs: frozenset[str] | None = None
    tools: bool | None = None
    needs_output_limit: bool | None = None
    prices: PriceList | None = None


class Source(Protocol):
    """A list of models, by provider."""

    def row(self, provider: str, model: str) -> Row | None:
        """What it says of a model of this provider, or None."""
        ...


def row_of(entry: ModelEntry, *, source: str, as_of: str = "") -> Row:
    """An entry of the settings, or of the built-in table, as a row."""
    return Row(
        source=source,
        as_of=as_of,
        kind=entry.kind or ("metered" if entry.price else None),
        context_tokens=entry.context_tokens,
        output_limit_tokens=entry.output_limit_tokens,
        inputs=None if entry.inputs is None else frozenset(entry.inputs),
        tools=entry.tools,
        needs_output_limit=entry.needs_output_limit,
        prices=_price_list(entry),
    )


def _price_list(entry: ModelEntry) -> PriceList | None:
    if entry.price is None:
        return None
    tiers = sorted((Tier(tier.above, _rates(tier)) for tier in entry.tiers), key=lambda tier: -tier.above)
    return PriceList(
        standing=Tariff(_rates(entry.price), tuple(tiers)),
        specials=tuple((_term(special), Tariff(_rates(special))) for special in entry.specials),
        batch_factor=None if entry.batch_factor is None else _decimal(entry.batch_factor),
    )


def _rates(stated: RateSettings) -> Rates:
    rate, output = _decimal(stated.input), _decimal(stated.output)
    return Rates(
        input=rate,
        output=output,
        cached=rate if stated.cached is None else _decimal(stated.cached),
        cache_write=rate if stated.cache_write is None else _decimal(stated.cache_write),
        reasoning=output if stated.reasoning is None else _decimal(stated.reasoning),
        image=_decimal(stated.image),
    )


def _decimal(number: float) -> Decimal:
    """The number as it was written: 0.15, not the nearest binary fraction."""
    return Decimal(repr(number))


def _term(stated: SpecialSettings) -> Term:
    return Term(
        since=_day_start(stated.since) if stated.since else float("-inf"),
        until=_day_start(stated.until) + DAY_S if stated.until else float("inf"),
        hours=tuple((_minute(text[:5]), _minute(text[6:])) for text in stated.hours),
        days=frozenset(_DAYS.index(day) for day in stated.days),
    )


def _day_start(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def _minute(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])
