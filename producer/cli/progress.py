"""The live display of a run: a bar and counts on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from producer.batch import Tally
from producer.cli.money import cost

FRAME_S = 0.2
"""Between two frames on a terminal."""

LINE_S = 5.0
"""Between two plain lines."""


class Display:
    """Shows a tally on standard error while `shown` is entered; `say` prints a line without tearing it."""

    def __init__(self, tally: Tally, *, is_quiet: bool) -> None:
        self._tally = tally
        self._is_quiet = is_quiet
        self._live: Live | None = None

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Keep showing."""
        if self._is_quiet:
            yield
            return
        is_live = sys.stderr.isatty()
        if is_live:
            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._live.start()
        showing = asyncio.create_task(self._show_for_ever(FRAME_S if is_live else LINE_S))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            if self._live is not None:
                self._show()
                self._live.stop()

    def note(self, text: str) -> None:
        """Print one line unless all is to be quiet."""
        if not self._is_quiet:
            self.say(text)

    def say(self, text: str) -> None:
        """Print one line."""
        if self._live is not None and self._live.is_started:
            self._live.console.print(Text(f"chatq: {text}"))
        else:
            click.echo(f"chatq: {text}", err=True)

    async def _show_for_ever(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            self._show()

    def _show(self) -> None:
        words = describe(self._tally)
        if self._live is None:
            click.echo(f"chatq: {words}", err=True)
            return
        recorded = self._tally.recorded_before + self._tally.done + self._tally.failed
        frame = Table.grid()
        frame.add_row(
            ProgressBar(
                total=self._tally.total, completed=recorded, pulse=self._tally.total is None, width=60
            )
        )
        frame.add_row(Text(words))
        self._live.update(frame, refresh=True)


def describe(tally: Tally) -> str:
    """Where the run is, in one line."""
    total = f"/{tally.total:,}" if tally.total is not None else ""
    rate_per_s, row = tally.rate_per_s(), tally.sum()
    parts = [
        f"{tally.recorded_before + tally.done + tally.failed:,}{total} done",
        f"{tally.failed_before + tally.failed:,} failed",
        f"{tally.in_flight:,} in flight",
        f"{rate_per_s:,.1f} jobs/s",
        f"{row.input_tokens:,} + {row.output_tokens:,} tokens",
    ]
    if row.done or row.cost_usd:
        parts.append(f"cost {cost(row.known_cost_usd, row.cost_unknown)}")
    if tally.remaining and rate_per_s > 0:
        parts.append(f"ETA {clock(tally.remaining / rate_per_s)}")
    return " · ".join(parts) + (f" · {tally.notice}" if tally.notice else "")


def clock(seconds: float) -> str:
    """`m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
