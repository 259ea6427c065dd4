from __future__ import annotations

import pytest

from simulator.distribution import Distribution


@pytest.mark.parametrize("text", ["0", "1.5", "uniform:0.1,2", "lognormal:3,0.4"])
def test_distribution_text_survives_round_trip(text: str) -> None:
    """What a distribution prints, it also reads."""
    assert str(Distribution.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "draw", "value"),
    [("1.5", 0.9, 1.5), ("uniform:1,3", 0.0, 1.0), ("uniform:1,3", 0.5, 2.0), ("lognormal:3,0.4", 0.5, 3.0)],
)
def test_distribution_gives_value_for_draw(text: str, draw: float, value: float) -> None:
    """A draw of one half falls on the middle of every distribution."""
    assert Distribution.parse(text).at(draw) == pytest.approx(value)


def test_lognormal_extremes_are_finite_and_ordered() -> None:
    """Not even the edges of the draw reach the infinite ends of the curve."""
    lognormal = Distribution.parse("lognormal:1,0.5")
    assert 0 < lognormal.at(0.0) < lognormal.at(0.5) < lognormal.at(1.0) < 1000


@pytest.mark.parametrize(
    "text", ["", "fast", "-1", "nan", "inf", "uniform:1", "uniform:3,1", "lognormal:1,2,3", "normal:1,1"]
)
def test_broken_distribution_is_refused(text: str) -> None:
    """Anything else is refused with a word on what is allowed."""
    with pytest.raises(ValueError, match=r"distribution|finite|LOW"):
        Distribution.parse(text)
