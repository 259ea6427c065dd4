"""A batch whose batcher is killed again and again."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.batches import run


async def test_killed_batcher_neither_loses_nor_repeats_a_line(tmp_path: Path) -> None:
    """Workers and API live, so each line is called once, but for the calls that failed."""
    report = await run(
        tmp_path, lines=2_000, seed=7, victims=("batcher",), life_s=(0.3, 1.0), latency="fixed:0.3", fault=0.0
    )
    assert report.broken(lines=2_000) == []
    assert report.kills["batcher"] >= 2
    assert report.calls == 2_000
