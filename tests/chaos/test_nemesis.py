"""The two long runs. Each mostly waits, so they share their time: one would take as long alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.chaos.checker import check, recovery_times
from tests.chaos.lab import Lab
from tests.chaos.load import Load
from tests.chaos.nemesis import run
from tests.chaos.windows import used

SEED, MINUTES = 7, 0.35

DEFAULTS = {
    "CHATQ_WORKER__LEASE_S": "30",
    "CHATQ_WORKER__RENEW_S": "7.5",
    "CHATQ_REDIS__SOCKET_TIMEOUT_S": "5",
    "CHAOS_RESCUE_S": "3",
}


async def random_faults_break_nothing(folder: Path) -> None:
    """A short run of the nemesis; `make chaos` makes longer ones."""
    report = await run(folder, minutes=MINUTES, seed=SEED)
    assert report.faults.total() >= 8
    assert len(report.evidence.asks) > 1_000
    assert all(shares[1] > 0.7 for _, shares in used(report.evidence)), "the limits did not matter"


async def default_leases_recover_in_time(folder: Path) -> None:
    """With 30 s leases, what a killed worker held is done elsewhere within 45 s."""
    async with Lab.open(folder) as lab:
        lab.declared.longest_gap_s = 45
        await lab.submit(Load(jobs=1_000))
        bomb = await lab.start(ready=False, CHAOS_FAILPOINT="answered:200", **DEFAULTS)
        await lab.died(bomb, "answered")
        await lab.start(**DEFAULTS)
        assert await lab.collect(timeout_s=60)
        evidence = await lab.evidence()
        check(evidence)
        assert 25 < max(recovery_times(evidence)) <= 45


@pytest.mark.timeout(120)
async def test_random_faults_and_default_leases(tmp_path: Path) -> None:
    """The nemesis with short leases, and a kill with the default ones."""
    await asyncio.gather(
        random_faults_break_nothing(tmp_path / "nemesis"),
        default_leases_recover_in_time(tmp_path / "default"),
    )
