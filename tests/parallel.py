"""How `make test` shares the tests among processes (pytest-xdist): `pytest -p tests.parallel -n auto`.

Most tests are independent, and any process takes the next. Some run one after the other in the same process: those
that share a server, and the chaos tests, whose many processes must get the processor in time.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

CHAOS = PurePosixPath("tests/chaos")

FIRST_HALF = {"test_batches.py", "test_kill.py", "test_mutations.py", "test_nemesis.py", "test_soak.py"}
"""Of the chaos tests, by their time; so at most two of them run at once."""

SHARING = (PurePosixPath("tests/clients/api"), PurePosixPath("tests/producer/api/test_schema.py"))
"""Where one server is started for all tests."""


def group_of(test: str) -> str:
    """The name of what a test belongs to; its own if it is independent.

    Args:
        test: Its node id.
    """
    path = PurePosixPath(test.partition("::")[0])
    if path.is_relative_to(CHAOS):
        return "chaos 1" if path.name in FIRST_HALF else "chaos 2"
    return next((str(place) for place in SHARING if path.is_relative_to(place)), test)


class Scheduler(LoadScopeScheduling):
    """Gives out groups, the largest first, and then one test after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Any:
    """Instead of those of xdist, whose groups by mark need a node id that can be changed."""
    return Scheduler(config, log)


@pytest.hookimpl
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: one more than there are cores, for tests mostly wait for processes of theirs."""
    return (os.cpu_count() or 1) + 1
