"""The supervisor: several processes under one, restarted when they die, stopped together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from shared.errors import ConfigError

log = logging.getLogger(__name__)

RESTART_S = 1.0
"""Pause before a process that died is started again: a crash at start must not spin."""


class Supervisor:
    """Runs commands until all have ended, a stop signal comes, or one says that the settings are wrong.

    Args:
        commands: What to run, each as a process of its own.
        env: The whole environment of each.
        on_start: Called once, when all have been started.
        inherited: File descriptors that each gets, under the same numbers.
        parent: Stop when this process, which started this one, is gone.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        *,
        env: Mapping[str, str],
        on_start: Callable[[], None] = lambda: None,
        inherited: Sequence[int] = (),
        parent: int | None = None,
    ) -> None:
        self._env = dict(env)
        self._on_start = on_start
        self._inherited = inherited
        self._parent = parent
        self._children = [self._spawn(command) for command in commands]
        self._stopping = threading.Event()
        self._worst = self._refusal = 0

    def run(self) -> int:
        """Wait for the children.

        Returns:
            0; or the code of one that refused its settings, else the worst of those that were asked to stop.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._forward)
        self._on_start()
        while self._children:
            if self._parent not in (None, os.getppid()):
                self._parent = None
                self._forward(signal.SIGTERM, None)
            for child in list(self._children):
                if child.process.poll() is not None:
                    self._ended(child, child.process.returncode)
            time.sleep(0.1)
        return self._refusal or self._worst

    def _ended(self, child: _Child, code: int) -> None:
        self._children.remove(child)
        if code == 0:
            return
        if self._stopping.is_set():
            # One that dies of the signal was asked before it had begun anything: then it takes it otherwise.
            if code != -signal.SIGTERM:
                self._worst = max(self._worst, abs(code))
            return
        if code == ConfigError.exit_code:  # another one would say the same
            self._refusal = code
            self._forward(signal.SIGTERM, None)
            return
        log.error("process %d died (%d); starting another", child.process.pid, code)
        if not self._stopping.wait(RESTART_S):
            self._children.append(self._spawn(child.command))
            if self._stopping.is_set():  # since then: it was not in the list when that was passed on
                self._children[-1].process.send_signal(signal.SIGTERM)

    def _forward(self, number: int, _frame: object) -> None:
        self._stopping.set()
        for child in self._children:
            child.process.send_signal(signal.SIGTERM)

    def _spawn(self, command: Sequence[str]) -> _Child:
        # A session of its own: Ctrl-C reaches only the supervisor, which passes it on once.
        process = subprocess.Popen(
            list(command), env=self._env, start_new_session=True, pass_fds=tuple(self._inherited)
        )
        return _Child(command, process)


class _Child(NamedTuple):
    command: Sequence[str]
    process: subprocess.Popen[bytes]
