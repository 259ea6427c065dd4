"""The options of `chatq run`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from producer.batch.run_file import DEFAULT_CLIENT
from shared.job import Lane
from shared.money import MOST_USD
from shared.settings import Settings

MIN_WINDOW = 2000
"""Lines in Redis at a time: enough to keep one worker busy while the answers of others are written."""

ESCAPES = 3
"""A request written in ASCII is up to three times its size in UTF-8, which is what the body limit is for."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a file is run.

    Attributes:
        output: None in a dry run that is to look at the input alone.
        max_cost_usd: What the run may cost in all, earlier sessions included; None = no limit.
        budget_usd: What its client may spend today; None = what the settings say.
    """

    source: Path
    output: Path | None
    model: str | None = None
    fallbacks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    lane: Lane = Lane.BATCH
    client: str = DEFAULT_CLIENT
    window: int | None = None
    is_retry: bool = False
    is_restart: bool = False
    max_cost_usd: Decimal | None = None
    budget_usd: Decimal | None = None
    is_dry: bool = False
    with_worker: bool = False
    concurrency: int | None = None
    is_quiet: bool = False


class Dollars(click.ParamType[Decimal]):
    """An amount of US dollars: `5`, `0.25`."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """The amount, 0 or more."""
        try:
            amount = Decimal(str(value).removeprefix("$"))
        except InvalidOperation:
            amount = Decimal(-1)
        if not amount.is_finite() or not 0 <= amount < MOST_USD:
            self.fail(f"{value!r}: write an amount of US dollars, like 2.50", param, ctx)
        return amount


def max_line_bytes(settings: Settings) -> int:
    """Longest line that is kept."""
    return ESCAPES * settings.jobs.max_body_bytes
