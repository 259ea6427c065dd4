"""A price list: what one model's calls cost by their tokens, length, time and images. Exact, in Decimal."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from shared.usage import Usage

DAY_S = 86_400
PER_MILLION = Decimal("1e-6")
NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens of each kind, and USD per image of the request."""

    input: Decimal
    output: Decimal
    cached: Decimal
    cache_write: Decimal
    reasoning: Decimal
    image: Decimal = NOTHING

    def cost(
        self, fresh: int, cached: int, cache_write: int, output: int, reasoning: int, images: int
    ) -> Decimal:
        """What so many tokens and images cost, in USD.

        Args:
            fresh: Input that was neither read from the provider's cache nor written to it.
            cached: Input read from it.
            cache_write: Input written to it.
            output: Without reasoning.
            reasoning: The rest of the output.
            images: In the request.
        """
        # Zeros are left out because a multiplication of Decimals takes longer than looking.
        micro_usd = self.input * fresh + self.output * output
        if cached:
            micro_usd += self.cached * cached
        if cache_write:
            micro_usd += self.cache_write * cache_write
        if reasoning:
            micro_usd += self.reasoning * reasoning
        usd = micro_usd * PER_MILLION
        return usd + self.image * images if images else usd


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates of calls with more than `above` input tokens; they hold for all tokens of such a call."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Tariff:
    """Rates, and those of longer prompts over them.

    Attributes:
        tiers: The longest prompts first.
    """

    rates: Rates
    tiers: tuple[Tier, ...] = ()

    def rates_for(self, input_tokens: int) -> Rates:
        """The rates of a call with so many input tokens."""
        for tier in self.tiers:
            if input_tokens > tier.above:
                return tier.rates
        return self.rates


@dataclass(frozen=True, slots=True)
class Term:
    """When a tariff holds; all conditions must be met. Everything in UTC.

    Attributes:
        since: Unix seconds, included.
        until: Unix seconds, not included.
        hours: Pairs of minutes after midnight, the second not included; (990, 30) passes midnight. Empty: all day.
        days: Days of the week, 0 = Monday. Empty: all.
    """

    since: float = float("-inf")
    until: float = float("inf")
    hours: tuple[tuple[int, int], ...] = ()
    days: frozenset[int] = frozenset()

    def holds(self, at: float) -> bool:
        """Whether the tariff holds at this time (Unix seconds)."""
        if not self.since <= at < self.until:
            return False
        day, second = divmod(int(at), DAY_S)
        if self.days and (day + 3) % 7 not in self.days:  # 1 January 1970 was a Thursday
            return False
        minute = second // 60
        for start, end in self.hours:
            if start <= minute < end or (end < start and (minute >= start or minute < end)):
                return True
        return not self.hours


@dataclass(frozen=True, slots=True)
class PriceList:
    """All prices of one model.

    Attributes:
        standing: What holds when no special does.
        specials: Tariffs that hold at certain times; the first that does counts.
        batch_factor: What the provider's own batch API takes, as a part of the price. None: not known.
    """

    standing: Tariff
    specials: tuple[tuple[Term, Tariff], ...] = ()
    batch_factor: Decimal | None = None

    @property
    def has_image_price(self) -> bool:
        """Whether images ever cost something by themselves."""
        tariffs = [self.standing, *(tariff for _, tariff in self.specials)]
        rates = [rates for tariff in tariffs for rates in (tariff.rates, *(t.rates for t in tariff.tiers))]
        return any(rate.image for rate in rates)

    def tariff_at(self, at: float) -> Tariff:
        """The tariff of a call made at this time (Unix seconds)."""
        for term, tariff in self.specials:
            if term.holds(at):
                return tariff
        return self.standing

    def cost(self, usage: Usage, *, at: float, images: int = 0, is_batch: bool = False) -> Decimal | None:
        """What a call costs, in USD; None when its tokens, or the price in a batch, are not known.

        Cached and reasoning tokens that the provider does not state are billed as plain input and output: where
        they are cheaper, the bill is an upper bound.

        Args:
            usage: What the provider counted.
            at: When the call was made, Unix seconds.
            images: How many the request has.
            is_batch: The call went through the provider's own batch API.
        """
        input_total, output_total = usage["input_total"], usage["output_total"]
        if input_total is None or output_total is None:
            return None
        cached, cache_write = usage["input_cached"] or 0, usage["input_cache_write"] or 0
        reasoning = usage["reasoning"] or 0
        # Parts can exceed the whole: xAI was seen with more cached than read (provider-wire.md §10).
        if cached + cache_write > input_total:
            cached = min(cached, input_total)
            cache_write = min(cache_write, input_total - cached)
        if reasoning > output_total:
            reasoning = output_total
        tariff = self.tariff_at(at) if self.specials else self.standing
        rates = tariff.rates_for(input_total) if tariff.tiers else tariff.rates
        fresh = input_total - cached - cache_write
        usd = rates.cost(fresh, cached, cache_write, output_total - reasoning, reasoning, images)
        if not is_batch:
            return usd
        return None if self.batch_factor is None else usd * self.batch_factor
