"""Durations on the command line."""

from __future__ import annotations

import re
from typing import Any

import click

UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Duration(click.ParamType[float]):
    """`90`, `90s`, `30m`, `2h`, `1d` as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, more than 0."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        if match is None or not float(match[1]):
            self.fail(f"{value!r}: write 90s, 30m, 2h or 1d", param, ctx)
        return float(match[1]) * UNITS_S[match[2]]
