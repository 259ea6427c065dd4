"""How `make test` shares the tests among processes (pytest-xdist): `pytest -p tests.parallel -n auto`.

Most tests are independent, and any process takes the next. Some run one after the other in the same process: those
that share a server, and the chaos tests, whose many processes must get the processor in time: they come first, and
what runs beside them steps back for them.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from functools import cache
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

NICENESS = 2
"""Of a process, and of all that it starts, from its first test on that is no chaos test: two thirds of a share."""


def group_of(test: str) -> str:
    """The name of what a test belongs to; its own if it is independent.

    Args:
        test: Its node id.
    """
    path = PurePosixPath(test.partition("::")[0])
    if path.is_relative_to(CHAOS):
        return "chaos 1" if path.name in FIRST_HALF else "chaos 2"
    return next((str(place) for place in SHARING if path.is_relative_to(place)), test)


def rank_of(test: str) -> int:
    """The chaos tests come first, then the other groups: long ones must not be left for the end."""
    group = group_of(test)
    return 2 if group == test else 0 if group.startswith("chaos") else 1


class Scheduler(LoadScopeScheduling):
    """Gives out groups and single tests in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Any:
    """Instead of those of xdist, whose groups by mark need a node id that can be changed."""
    config.option.loadscopereorder = False  # by numbers of tests
    return Scheduler(config, log)


@pytest.hookimpl(tryfirst=True)  # xdist has one as well, and the first answer counts
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: one more than there are cores, for tests mostly wait for processes of theirs."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: walking it again and again took a seventh of the processor, 0.4 s at a time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.hookimpl(trylast=True)  # after the shuffling
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank_of(item.nodeid))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if hasattr(item.config, "workerinput") and rank_of(item.nodeid) > 0:
        _step_back()


@cache
def _step_back() -> None:
    """Once a process: there is no way back."""
    os.nice(NICENESS)
