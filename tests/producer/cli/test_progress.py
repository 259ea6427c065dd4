"""The line that says where a run is."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from producer.batch import Tally
from producer.batch.tally import Row, RowKey
from producer.cli.progress import Display, clock, describe


def test_line_has_counts_tokens_and_cost() -> None:
    """Earlier runs count as done; cost only as far as it is known."""
    tally = Tally(total=2000, recorded_before=10, failed_before=1, in_flight=500)
    tally.rows[RowKey("m", "p", "m")] = Row(990, 2, 12_000, 34_000, Decimal("0.5"), 90)
    assert describe(tally) == (
        "1,002/2,000 done · 3 failed · 500 in flight · 0.0 jobs/s · 12,000 + 34,000 tokens "
        "· cost $0.5000 (unknown for 90)"
    )


def test_eta_follows_from_the_rate() -> None:
    """Remaining lines at the speed of late."""
    tally = Tally(total=100)
    tally.rate_per_s()
    tally.rows[RowKey("m", "p", "m")] = Row(done=50, cost_unknown=50)
    assert " jobs/s" in describe(tally)
    assert "· ETA 0:0" in describe(tally)


def test_notice_is_shown_at_the_end() -> None:
    """What the run waits for."""
    assert describe(Tally(notice="Redis is full")).endswith("· Redis is full")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3600 + 62, "1:01:02")])
def test_clock_is_short(seconds: float, text: str) -> None:
    """Hours only when there are some."""
    assert clock(seconds) == text


async def test_pipe_gets_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error, one after the other; nothing when quiet."""
    monkeypatch.setattr("producer.cli.progress.LINE_S", 0.0)
    for is_quiet in (False, True):
        async with Display(Tally(total=3), is_quiet=is_quiet).shown():
            await asyncio.sleep(0.01)
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("chatq: 0/3 done · 0 failed") is not is_quiet
