"""A short soak; `make soak` makes long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.soak import soak

MINUTES = 0.1

JOBS_PER_S, LATENCY = 300, "uniform:0.1,0.4"
"""As many slots in use, and so few jobs that the load is even on a machine that has other tests to run: what Redis
holds follows it."""


@pytest.mark.timeout(120)
async def test_steady_load_leaves_everybody_as_large_as_they_were(tmp_path: Path) -> None:
    """I22: memory, files, threads and tasks of workers and producer, memory and keys of Redis."""
    soaked = await soak(tmp_path, minutes=MINUTES, jobs_per_s=JOBS_PER_S, latency=LATENCY)
    soaked.check()
    assert soaked.jobs_per_s > JOBS_PER_S / 2, soaked.rows()
