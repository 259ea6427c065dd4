"""The supervisor: what its children's ends mean, and that none of them outlives a stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from shared import supervisor as module
from shared.supervisor import Supervisor
from tests.support import wait_until

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]
"""Dies of SIGTERM, as one does that is still starting."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """`run` takes the signals of the process."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def worker(ready: Path, code: int) -> list[str]:
    """A child that has begun its work, and ends with this code when it is asked to."""
    text = (
        f"import pathlib, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}));"
        f"pathlib.Path({str(ready)!r}).touch(); signal.pause()"
    )
    return [sys.executable, "-c", text]


async def test_worst_code_of_those_that_were_asked_to_stop_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none of them is replaced."""
    starts: list[object] = []
    spawn = Supervisor._spawn

    def counted(self: Supervisor, command: Sequence[str]) -> object:
        starts.append(command)
        return spawn(self, command)

    monkeypatch.setattr(Supervisor, "_spawn", counted)
    ready = [tmp_path / "a", tmp_path / "b"]
    supervisor = Supervisor([worker(ready[0], 0), worker(ready[1], 3)], env={})
    await wait_until(lambda: all(path.exists() for path in ready))
    supervisor._forward(signal.SIGTERM, None)
    assert supervisor.run() == 3
    assert len(starts) == 2


def test_child_that_is_stopped_while_it_starts_has_not_failed() -> None:
    supervisor = Supervisor([SLEEPER], env={})
    supervisor._forward(signal.SIGTERM, None)
    assert supervisor.run() == 0


def test_child_that_is_started_in_the_moment_of_a_stop_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_S", 0.0)
    spawn = Supervisor._spawn

    def stopped(self: Supervisor, _command: Sequence[str]) -> object:
        child = spawn(self, SLEEPER)
        self._forward(signal.SIGTERM, None)
        return child

    supervisor = Supervisor([[sys.executable, "-c", "raise SystemExit(1)"]], env={})
    monkeypatch.setattr(Supervisor, "_spawn", stopped)
    assert supervisor.run() == 0
