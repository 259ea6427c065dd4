"""`[catalogue."<provider>/<model>"]`: what the operator knows of a model, over what chatq knows itself.

The built-in table (`shared/catalogue/models.toml`) has the same keys. An entry replaces only the facts it states;
`"<provider>/*"` stands for all models of a provider.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from shared.settings.section import Section

Kind = Literal["metered", "local", "subscription"]
"""How its calls are paid for: by use; not at all (own hardware); by a plan that is paid for anyway."""

Modality = Literal["text", "image", "audio", "video", "file"]

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def _day(text: str) -> str:
    try:
        is_day = not text or date.fromisoformat(text).isoformat() == text
    except ValueError:
        is_day = False
    if not is_day:
        raise ValueError('must be a day, like "2026-12-31", or empty')
    return text


def _hours(text: str) -> str:
    if not _HOURS.fullmatch(text):
        raise ValueError('must be hours of the day in UTC, like "16:30-00:30"')
    return text


Day = Annotated[str, AfterValidator(_day)]
Hours = Annotated[str, AfterValidator(_hours)]


class RateSettings(Section):
    """A price: USD per million tokens, and per image."""

    input: float = Field(ge=0, le=1e6)
    """Tokens of the request."""

    output: float = Field(ge=0, le=1e6)
    """Tokens of the answer, with its reasoning."""

    cached: float | None = Field(default=None, ge=0, le=1e6)
    """Tokens read from the provider's cache. Left out: as `input`."""

    cache_write: float | None = Field(default=None, ge=0, le=1e6)
    """Tokens written to the provider's cache. Left out: as `input`."""

    reasoning: float | None = Field(default=None, ge=0, le=1e6)
    """Tokens of reasoning, where they have a price of their own. Left out: as `output`."""

    image: float = Field(default=0.0, ge=0, le=1e6)
    """Each image of the request, in USD, besides its tokens."""


class TierSettings(RateSettings):
    """The price of a call with a long prompt; it holds for all tokens of that call."""

    above: int = Field(ge=1, le=10**9)
    """Holds for calls of more input tokens than this."""


class SpecialSettings(RateSettings):
    """A price that holds at certain times: a promotion, or hours of the day. All that is stated must be met."""

    since: Day = ""
    """First day, UTC. Empty: from the beginning."""

    until: Day = ""
    """Last day, UTC, that day included. Empty: for ever."""

    hours: tuple[Hours, ...] = Field(default=(), strict=False)
    """Hours of the day in UTC, start included, end not; they may pass midnight. Empty: all day."""

    days: tuple[Weekday, ...] = Field(default=(), strict=False)
    """Days of the week in UTC. Empty: all."""


class ModelEntry(Section):
    """Facts on one model of one provider. What is left out is taken from the next source that knows it."""

    kind: Kind | None = None
    """`metered`, also without a price here: then what its maker takes. `local`: costs nothing. `subscription`."""

    context_tokens: int | None = Field(default=None, ge=1, le=10**9)
    """Prompt and answer together at most, in tokens."""

    output_limit_tokens: int | None = Field(default=None, ge=1, le=10**9)
    """Longest answer, in tokens, reasoning included."""

    inputs: tuple[Modality, ...] | None = Field(default=None, strict=False)
    """What a message may hold, like ["text", "image"]."""

    tools: bool | None = None
    """Whether it can call functions."""

    needs_output_limit: bool | None = None
    """Whether a request without `max_tokens` has to be given one: its API asks for it, or cuts answers short."""

    price: RateSettings | None = None
    """What a call costs."""

    tiers: tuple[TierSettings, ...] = Field(default=(), strict=False)
    """Prices by length of the prompt, over `price`."""

    specials: tuple[SpecialSettings, ...] = Field(default=(), strict=False)
    """Prices at certain times, over `price` and `tiers`; the first that holds counts."""

    batch_factor: float | None = Field(default=None, ge=0.01, le=1)
    """What the provider's own batch API takes, as a part of the price: 0.5 = half."""

    @model_validator(mode="after")
    def _needs_a_price(self) -> Self:
        if self.price is None and (self.tiers or self.specials or self.batch_factor is not None):
            raise ValueError("has tiers, specials or a batch_factor but no price that they differ from")
        return self


ModelKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}/\S.{0,255}$")]
"""`<provider>/<model>`, the model as its provider calls it, or `*`."""
