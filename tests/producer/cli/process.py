"""Running `chatq` as a process of its own, on the providers of the test's simulator."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CHATQ = str(Path(sys.executable).with_name("chatq"))

LIMIT_S = 50.0


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Chatq:
    """Starts commands in one folder with one environment."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = dict(env)
        self._started: list[Process] = []

    async def start(self, *args: str, **env: str) -> Process:
        """Start a command."""
        process = await asyncio.create_subprocess_exec(
            CHATQ, *args, cwd=self.folder, env={**self.env, **env}, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        self._started.append(process)
        return process

    async def stop_all(self) -> None:
        """End what a failed test left running; a run ends its own worker."""
        for process in self._started:
            if process.returncode is None:
                process.terminate()
                await finished(process)

    async def run(self, *args: str, stdin: bytes = b"", **env: str) -> Finished:
        """Run a command to its end."""
        return await finished(await self.start(*args, **env), stdin=stdin)


async def said(process: Process, words: str) -> str:
    """Read standard error up to a line that has these words; returns it."""
    if process.stderr is None:
        raise ValueError("started without a pipe")
    async with asyncio.timeout(20):
        while (line := (await process.stderr.readline()).decode()) and words not in line:
            continue
    return line


async def finished(process: Process, *, stdin: bytes = b"") -> Finished:
    """Wait for the end of a command; kills one that does not end."""
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate(stdin)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())
