"""A lab for each chaos test; a run that breaks leaves its journal's path in the report."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.chaos.lab import Lab


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with Lab.open(tmp_path / "lab") as opened:
        yield opened
