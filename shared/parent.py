"""The parent process: a child that was told its pid notices when it is gone, however early that happens."""

from __future__ import annotations

import asyncio
import os

LOOK_S = 0.5
"""Interval of the looks."""

OPTION = "--follow-parent"
"""Of every command that is started by another one."""

STARTER = 0
"""As the option's value: whoever has started this process."""


def follow_me() -> str:
    """The option for a child of this process.

    It names the pid: a child that looked for itself who its parent is would follow another one if its own had
    died by then.
    """
    return f"{OPTION}={os.getpid()}"


def followed(pid: int | None) -> int | None:
    """The process to follow, from the option's value; None: none."""
    return os.getppid() if pid == STARTER else pid


async def until_gone(pid: int) -> None:
    """Wait until the parent of this process is no longer `pid`."""
    while os.getppid() == pid:
        await asyncio.sleep(LOOK_S)
