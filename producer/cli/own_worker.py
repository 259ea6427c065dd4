"""The worker that `chatq run` starts for itself: watched, restarted a few times, stopped with the run."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping

from shared.errors import WorkerLost
from shared.parent import follow_me

MAX_RESTARTS = 3

RESTART_S = 0.5
"""Pause before another is started: what fails at once must not spin."""

LOG_BYTES = 8192
"""How much of the end of the worker's log is kept, to tell why it died."""


class OwnWorker:
    """One `python -m worker` at a time.

    It drains by itself when this process is gone, and sits in a session of its own, so that Ctrl-C reaches only
    the run, which decides.

    Args:
        env: Its whole environment.
        note: Told about births, one line each.
        say: The same for deaths.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        concurrency: int | None,
        note: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._env = dict(env)
        self._command = [sys.executable, "-m", "worker", "--processes", "1", follow_me()]
        if concurrency is not None:
            self._command += ["--concurrency", str(concurrency)]
        self._note = note
        self._say = say
        self._process: Process | None = None
        self._is_stopping = False
        self._log = b""

    async def supervise(self) -> None:
        """Run a worker until `stop`. Cancelled, it kills the worker.

        Raises:
            WorkerLost: It died more than `MAX_RESTARTS` times.
        """
        for restarts in range(MAX_RESTARTS + 1):
            how = await self._run_one()
            if self._is_stopping:
                return
            if restarts < MAX_RESTARTS:
                self._say(f"the worker {how}; starting another ({restarts + 1} of {MAX_RESTARTS})")
                await asyncio.sleep(RESTART_S)
        last_words = self._log.decode(errors="replace").strip().rpartition("\n")[2] or "it left no log"
        raise WorkerLost(f"the worker {how} again: {last_words}; run the same command again to go on")

    def stop(self) -> None:
        """Have it drain; called again, have it give its jobs back at once."""
        self._is_stopping = True
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    async def _run_one(self) -> str:
        """Run one worker to its end; says how it ended."""
        if self._is_stopping:
            return ""
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            stdout=PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._note(f"worker started, pid {process.pid}")
        try:
            # By chunks: a line may be of any length.
            while process.stdout and (chunk := await process.stdout.read(LOG_BYTES)):
                self._log = (self._log + chunk)[-LOG_BYTES:]
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
