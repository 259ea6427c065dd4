"""Durations on the command line."""

from __future__ import annotations

from typing import Any

import click

from shared.duration import read_duration


class Duration(click.ParamType[float]):
    """`90`, `90s`, `30m`, `2h`, `1d` as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, more than 0."""
        seconds = read_duration(str(value))
        if seconds is None:
            self.fail(f"{value!r}: write 90s, 30m, 2h or 1d", param, ctx)
        return seconds
