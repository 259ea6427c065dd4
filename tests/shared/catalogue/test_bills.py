"""What calls cost, against bills computed by hand: USD per million tokens x tokens = micro-USD."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from shared.catalogue import Bill, Catalogue
from shared.usage import NO_USAGE, Usage

PRICES = """
[catalogue."openai/mini"]
price = { input = 0.75, cached = 0.075, output = 4.5 }
batch_factor = 0.5

[catalogue."anthropic/opus"]
price = { input = 5.0, cached = 0.5, cache_write = 6.25, output = 25.0 }

[catalogue."openrouter/acme/thinker"]
price = { input = 1.0, output = 4.0, reasoning = 2.0 }

[catalogue."xai/grok"]
price = { input = 1.25, cached = 0.2, output = 2.5 }
tiers = [{ above = 199_999, input = 2.5, cached = 0.4, output = 5.0 }]

[catalogue."openai/long"]
price = { input = 1.0, output = 2.0 }
tiers = [{ above = 100_000, input = 2.0, output = 4.0 }, { above = 500_000, input = 3.0, output = 6.0 }]

[catalogue."gemini/argon"]
price = { input = 4.0, cached = 0.2, output = 20.0 }
specials = [{ until = "2026-11-30", input = 2.0, cached = 0.1, output = 10.0 }]

[catalogue."gemini/announced"]
price = { input = 1.0, output = 1.0 }
specials = [{ since = "2027-01-01", input = 2.0, output = 2.0 }]

[catalogue."deepseek/pro"]
price = { input = 0.66, cached = 0.022, output = 1.98 }

[[catalogue."deepseek/pro".specials]]
hours = ["01:00-04:00", "06:00-10:00"]
days = ["mon", "tue", "wed", "thu", "fri"]
input = 1.32
cached = 0.044
output = 3.96

[catalogue."deepseek/old"]
price = { input = 0.28, output = 0.42 }
specials = [{ hours = ["16:30-00:30"], input = 0.14, output = 0.21 }]

[catalogue."moonshot/eyes"]
price = { input = 1.0, output = 2.0, image = 0.0025 }

[catalogue."xiaomi/free"]
price = { input = 0.0, output = 0.0 }

[providers.rack]
base_url = "http://rack:8000/v1"

[catalogue."rack/*"]
kind = "local"
"""

MONDAY = "2026-11-23T12:00"


def usage(read: int | None, written: int | None, **more: int | float) -> Usage:
    return {**NO_USAGE, "input_total": read, "output_total": written, **more}  # type: ignore[typeddict-item]


@pytest.fixture
def catalogue(make_catalogue: Callable[..., Catalogue]) -> Catalogue:
    return make_catalogue(PRICES)


@pytest.mark.parametrize(
    ("model", "counted", "when", "usd"),
    [
        # 2,000 x 0.75 + 10,000 cached x 0.075 + 2,000 x 4.5, reasoning among them = 1,500 + 750 + 9,000
        ("openai/mini", usage(12_000, 2_000, input_cached=10_000, reasoning=500), MONDAY, "0.01125"),
        # 12,000 x 5 + 30,000 cached x 0.5 + 8,000 written x 6.25 + 1,000 x 25 = 60,000 + 15,000 + 50,000 + 25,000
        (
            "anthropic/opus",
            usage(50_000, 1_000, input_cached=30_000, input_cache_write=8_000),
            MONDAY,
            "0.15",
        ),
        # 1,000 x 1 + 500 x 4 + 2,500 of reasoning x 2 = 1,000 + 2,000 + 5,000
        ("openrouter/acme/thinker", usage(1_000, 3_000, reasoning=2_500), MONDAY, "0.008"),
        # 199,999 x 1.25 + 1,000 x 2.5 = 249,998.75 + 2,500: the last prompt below the tier
        ("xai/grok", usage(199_999, 1_000), MONDAY, "0.25249875"),
        # 200,000 x 2.5 + 1,000 x 5 = 500,000 + 5,000: all tokens at the tier's price
        ("xai/grok", usage(200_000, 1_000), MONDAY, "0.505"),
        # cached tokens count for the tier: 1 x 2.5 + 199,999 x 0.4 + 0 = 2.5 + 79,999.6
        ("xai/grok", usage(200_000, 0, input_cached=199_999), MONDAY, "0.0800021"),
        # 100,001 x 2 + 1 x 4, and 500,001 x 3 + 1 x 6
        ("openai/long", usage(100_001, 1), MONDAY, "0.200006"),
        ("openai/long", usage(500_001, 1), MONDAY, "1.500009"),
        # 100,000 x 2 + 10,000 x 10 on the promotion's last day; twice that from the next midnight on
        ("gemini/argon", usage(100_000, 10_000), "2026-11-30T23:59:59", "0.3"),
        ("gemini/argon", usage(100_000, 10_000), "2026-12-01T00:00", "0.6"),
        # 1,000 x 1 + 1,000 x 1, and twice that from the announced day on
        ("gemini/announced", usage(1_000, 1_000), "2026-12-31T23:59:59", "0.002"),
        ("gemini/announced", usage(1_000, 1_000), "2027-01-01T00:00", "0.004"),
        # 10,000 x 0.66 + 90,000 cached x 0.022 + 5,000 x 1.98 = 6,600 + 1,980 + 9,900; twice that at peak hours
        ("deepseek/pro", usage(100_000, 5_000, input_cached=90_000), "2026-11-23T05:59:59", "0.01848"),
        ("deepseek/pro", usage(100_000, 5_000, input_cached=90_000), "2026-11-23T06:00", "0.03696"),
        ("deepseek/pro", usage(100_000, 5_000, input_cached=90_000), "2026-11-23T10:00", "0.01848"),
        ("deepseek/pro", usage(100_000, 5_000, input_cached=90_000), "2026-11-21T06:00", "0.01848"),
        # 1,000 x 0.28 + 1,000 x 0.42; half of that in hours that pass midnight
        ("deepseek/old", usage(1_000, 1_000), "2026-11-23T16:29", "0.0007"),
        ("deepseek/old", usage(1_000, 1_000), "2026-11-23T16:30", "0.00035"),
        ("deepseek/old", usage(1_000, 1_000), "2026-11-24T00:29", "0.00035"),
        ("deepseek/old", usage(1_000, 1_000), "2026-11-24T00:30", "0.0007"),
        # a price of 0 is a price
        ("xiaomi/free", usage(1_000, 1_000), MONDAY, "0"),
        # more cached than read, as xAI may say: 1,000 cached x 0.075
        ("openai/mini", usage(1_000, 0, input_cached=1_500), MONDAY, "0.000075"),
    ],
)
def test_computed_bill(
    catalogue: Catalogue, at: Callable[[str], float], model: str, counted: Usage, when: str, usd: str
) -> None:
    provider, _, name = model.partition("/")
    assert catalogue.bill(provider, name, counted, at=at(when)) == Bill(Decimal(usd), "computed")


@pytest.mark.parametrize(
    ("model", "counted", "bill"),
    [
        ("openrouter/some/model", usage(194, 20, cost_usd=0.00095), Bill(Decimal("0.00095"), "reported")),
        ("openai/mini", usage(12_000, 2_000, cost_usd=0.5), Bill(Decimal("0.5"), "reported")),
        ("openai/mini", usage(12_000, 2_000, cost_usd=0.0), Bill(Decimal(0), "reported")),
        ("ollama/qwen3.5:latest", usage(500, 100), Bill(Decimal(0), "local")),
        ("rack/anything", NO_USAGE, Bill(Decimal(0), "local")),
        ("ollama_cloud/gpt-oss:120b", usage(500, 100), Bill(Decimal(0), "subscription")),
        ("ollama/gpt-oss:120b-cloud", usage(500, 100), Bill(Decimal(0), "subscription")),
        ("kimi/k3", usage(500, 100, cost_usd=0.0), Bill(Decimal(0), "subscription")),
        ("kimi/k3", usage(500, 100, cost_usd=0.02), Bill(Decimal("0.02"), "reported")),
        ("openai/gpt-99", usage(500, 100), Bill(None, "no_price")),
        ("nobody/knows", usage(500, 100), Bill(None, "no_price")),
        ("openai/mini", NO_USAGE, Bill(None, "no_usage")),
        ("openai/mini", usage(500, None), Bill(None, "no_usage")),
    ],
)
def test_bill_says_who_says_so(
    catalogue: Catalogue, at: Callable[[str], float], model: str, counted: Usage, bill: Bill
) -> None:
    """The provider first; own hardware and plans cost nothing a call; what is not known is None, never 0."""
    provider, _, name = model.partition("/")
    assert catalogue.bill(provider, name, counted, at=at(MONDAY)) == bill


def test_images_are_billed_by_themselves(catalogue: Catalogue, at: Callable[[str], float]) -> None:
    """2,000 x 1 + 100 x 2 micro-USD + 3 x 0.0025 USD."""
    bill = catalogue.bill("moonshot", "eyes", usage(2_000, 100), at=at(MONDAY), images=3)
    assert bill == Bill(Decimal("0.0097"), "computed")


def test_batch_takes_its_part_of_the_price(catalogue: Catalogue, at: Callable[[str], float]) -> None:
    """Half of 0.01125; unknown where nobody says which part."""
    counted = usage(12_000, 2_000, input_cached=10_000)
    half = catalogue.bill("openai", "mini", counted, at=at(MONDAY), is_batch=True)
    assert half == Bill(Decimal("0.005625"), "computed")
    assert catalogue.bill("xai", "grok", counted, at=at(MONDAY), is_batch=True) == Bill(None, "no_price")


def test_expected_price_of_a_call_not_yet_made(catalogue: Catalogue, at: Callable[[str], float]) -> None:
    """Nothing cached: 12,000 x 0.75 + 2,000 x 4.5; 0 on own hardware and in a plan; None when unknown."""

    def expect(provider: str, model: str) -> Decimal | None:
        return catalogue.expect(provider, model, input_tokens=12_000, output_tokens=2_000, at=at(MONDAY))

    assert expect("openai", "mini") == Decimal("0.018")
    assert (expect("ollama", "qwen"), expect("kimi", "k3"), expect("openai", "gpt-99")) == (0, 0, None)
