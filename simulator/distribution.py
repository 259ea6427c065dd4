"""A distribution written as text: how long calls take, how many tokens answers have.

Forms: `1.5` (always that), `uniform:LOW,HIGH`, `lognormal:MEDIAN,SIGMA`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

_FORMS = "a number, uniform:LOW,HIGH or lognormal:MEDIAN,SIGMA"
_NORMAL = NormalDist()
_EDGE = 2.0**-53
"""Keeps a draw of exactly 0 or 1 away from the infinite ends of the normal curve."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A non-negative random quantity, drawn by inverting its cumulative curve.

    The draw is an argument, so the same draw gives the same value on every run and machine.
    """

    kind: str
    """`fixed`, `uniform` or `lognormal`."""
    first: float
    """The value, the low end, or the median."""
    second: float = 0.0
    """Nothing, the high end, or sigma of the logarithm."""

    @classmethod
    def parse(cls, text: str) -> Distribution:
        """Read one of the forms of this module.

        Raises:
            ValueError: Not one of the forms, or a value is negative or out of order.
        """
        kind, colon, rest = text.strip().partition(":")
        try:
            values = [float(value) for value in (rest if colon else kind).split(",")]
        except ValueError:
            values = []
        if not colon:
            kind = "fixed"
        if kind not in _ARITY or len(values) != _ARITY[kind]:
            raise ValueError(f"{text!r} is not a distribution: use {_FORMS}")
        if any(value < 0 or not math.isfinite(value) for value in values):
            raise ValueError(f"{text!r}: values must be finite and not negative")
        if kind == "uniform" and values[0] > values[1]:
            raise ValueError(f"{text!r}: LOW is above HIGH")
        return cls(kind, *values)

    @property
    def is_random(self) -> bool:
        """Whether the value depends on the draw."""
        return self.kind != "fixed"

    def at(self, draw: float) -> float:
        """The value for one uniform draw from [0, 1)."""
        if self.kind == "fixed":
            return self.first
        if self.kind == "uniform":
            return self.first + (self.second - self.first) * draw
        z = _NORMAL.inv_cdf(min(max(draw, _EDGE), 1 - _EDGE))
        return self.first * math.exp(self.second * z)

    def __str__(self) -> str:
        if self.kind == "fixed":
            return f"{self.first:g}"
        return f"{self.kind}:{self.first:g},{self.second:g}"


_ARITY = {"fixed": 1, "uniform": 2, "lognormal": 2}
