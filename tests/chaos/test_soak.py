"""A short soak; `make soak` makes long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.soak import JOBS_PER_S, soak

MINUTES = 0.1


@pytest.mark.timeout(120)
async def test_steady_load_leaves_everybody_as_large_as_they_were(tmp_path: Path) -> None:
    """I22: memory, files, threads and tasks of workers and producer, memory and keys of Redis."""
    soaked = await soak(tmp_path, minutes=MINUTES)
    soaked.check()
    assert soaked.jobs_per_s > JOBS_PER_S / 4, soaked.rows()
