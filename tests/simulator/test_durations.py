from __future__ import annotations

import pytest

from simulator.durations import go_duration


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0, "0s"),
        (0.012, "12ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (360, "6m0s"),
        (3723, "1h2m3s"),
        (90.25, "1m30.25s"),
    ],
)
def test_durations_print_as_go_does(duration_s: float, text: str) -> None:
    """Reset headers are Go durations."""
    assert go_duration(duration_s) == text
