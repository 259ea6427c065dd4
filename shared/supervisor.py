"""The supervisor: several worker processes under one, restarted when they die, stopped together."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Sequence

log = logging.getLogger(__name__)

RESTART_S = 1.0
"""Pause before a process that died is started again: a crash at start must not spin."""


class Supervisor:
    """Runs `count` copies of a command until they end or a stop signal comes."""

    def __init__(self, command: Sequence[str], *, count: int, env: dict[str, str]) -> None:
        self._command = command
        self._env = env
        self._children = [self._spawn() for _ in range(count)]
        self._stopping = threading.Event()
        self._worst = 0

    def run(self) -> int:
        """Wait for the children; returns 0, or the worst exit code of those that were asked to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._forward)
        while self._children:
            for child in list(self._children):
                code = child.poll()
                if code is not None:
                    self._ended(child, code)
            time.sleep(0.1)
        return self._worst

    def _ended(self, child: subprocess.Popen[bytes], code: int) -> None:
        self._children.remove(child)
        if code == 0:
            return
        if self._stopping.is_set():
            self._worst = max(self._worst, abs(code))
            return
        log.error("worker process %d died (%d); starting another", child.pid, code)
        if not self._stopping.wait(RESTART_S):
            self._children.append(self._spawn())

    def _forward(self, number: int, _frame: object) -> None:
        self._stopping.set()
        for child in self._children:
            child.send_signal(signal.SIGTERM)

    def _spawn(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches only the supervisor, which passes it on once.
        return subprocess.Popen(list(self._command), env=self._env, start_new_session=True)
