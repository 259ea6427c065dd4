"""Rules that every bill keeps, whatever the prices."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue.price_list import PriceList, Rates, Tariff, Term, Tier
from shared.usage import Usage

AT = 1_795_000_000.0

prices = st.decimals(min_value=0, max_value=1000, places=6)
counts = st.integers(min_value=0, max_value=2_000_000)
maybe_counts = st.none() | counts


@st.composite
def rates(draw: st.DrawFn) -> Rates:
    return Rates(*(draw(prices) for _ in range(6)))


@st.composite
def price_lists(draw: st.DrawFn) -> PriceList:
    """Prices that a tier never lowers: with a discount for long prompts, one token more may cost less in all."""
    base = draw(rates())
    tiers = []
    for above in sorted(draw(st.sets(st.integers(1, 1_000_000), max_size=2))):
        step = draw(st.decimals(min_value=1, max_value=3, places=1))
        last = tiers[-1].rates if tiers else base
        tiers.append(Tier(above, Rates(*(getattr(last, name) * step for name in Rates.__dataclass_fields__))))
    standing = Tariff(base, tuple(reversed(tiers)))
    specials = ((Term(hours=((0, 720),)), Tariff(draw(rates()))),) if draw(st.booleans()) else ()
    return PriceList(standing, specials, draw(st.none() | st.just(Decimal("0.5"))))


usages = st.builds(
    lambda *numbers: dict(zip(Usage.__annotations__, (*numbers, None), strict=True)),
    counts, maybe_counts, maybe_counts, counts, maybe_counts,
)  # fmt: skip


@given(price_lists(), usages, st.integers(0, 20), st.sampled_from([AT, AT + 43_200]))
def test_bill_is_never_negative_and_exact(prices: PriceList, usage: Usage, images: int, at: float) -> None:
    """The same in fractions, to the last digit: nothing is rounded."""
    usd = prices.cost(usage, at=at, images=images)
    assert usd is not None
    assert usd >= 0
    assert Fraction(usd) == in_fractions(prices, usage, images, at)


def in_fractions(prices: PriceList, usage: Usage, images: int, at: float) -> Fraction:
    read, written = usage["input_total"] or 0, usage["output_total"] or 0
    cached = min(usage["input_cached"] or 0, read)
    stored = min(usage["input_cache_write"] or 0, read - cached)
    thought = min(usage["reasoning"] or 0, written)
    rate = prices.tariff_at(at).rates_for(read)
    micro_usd = (
        Fraction(rate.input) * (read - cached - stored)
        + Fraction(rate.cached) * cached
        + Fraction(rate.cache_write) * stored
        + Fraction(rate.output) * (written - thought)
        + Fraction(rate.reasoning) * thought
    )
    return micro_usd / 1_000_000 + Fraction(rate.image) * images


@given(price_lists(), usages, st.sampled_from(["input_total", "output_total"]), st.integers(1, 1_000_000))
def test_more_tokens_never_cost_less(prices: PriceList, usage: Usage, kind: str, more: int) -> None:
    usage["input_cached"] = min(usage["input_cached"] or 0, usage["input_total"] or 0)
    usage["input_cache_write"] = min(
        usage["input_cache_write"] or 0, (usage["input_total"] or 0) - usage["input_cached"]
    )
    usage["reasoning"] = min(usage["reasoning"] or 0, usage["output_total"] or 0)
    larger: Usage = {**usage, kind: usage[kind] + more}  # type: ignore[literal-required, misc]
    less, most = prices.cost(usage, at=AT), prices.cost(larger, at=AT)
    assert less is not None
    assert most is not None
    assert less <= most


@given(price_lists(), usages)
def test_batch_takes_the_same_part_of_every_bill(prices: PriceList, usage: Usage) -> None:
    full = prices.cost(usage, at=AT)
    batch = prices.cost(usage, at=AT, is_batch=True)
    assert full is not None
    assert batch == (None if prices.batch_factor is None else full / 2)


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 100_000))
def test_hours_and_the_other_hours_are_the_day(start: int, end: int, minutes: int) -> None:
    """Each minute is in one of two windows that share their ends, whether they pass midnight or not."""
    at = minutes * 60.0
    windows = [Term(hours=((start, end),)), Term(hours=((end, start),))]
    holding = sum(window.holds(at) for window in windows)
    assert holding == (1 if start != end else 0)
