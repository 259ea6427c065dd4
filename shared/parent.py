"""The parent process: a child that was told its pid notices when it is gone, however early that happens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

LOOK_S = 0.5
"""Interval of the looks."""

_OPTION = "--follow-parent"

_STARTER = 0
"""As the option's value: whoever has started this process."""

Command = TypeVar("Command", bound=Callable[..., Any])


def follow_option(what: str) -> Callable[[Command], Command]:
    """The option of a command that is started by another one; its value is for `followed`.

    Args:
        what: What the command does then, as its help says it.
    """
    return click.option(
        _OPTION,
        "parent",
        type=click.IntRange(min=0),
        is_flag=False,
        flag_value=_STARTER,
        metavar="[PID]",
        help=f"{what} when the process that started this one ends.",
    )


def follow_me() -> str:
    """The option as a child of this process is given it.

    It names the pid: a child that looked for itself who its parent is would follow another one if its own had
    died by then.
    """
    return f"{_OPTION}={os.getpid()}"


def followed(pid: int | None) -> int | None:
    """The process to follow, from the option's value; None: none."""
    return os.getppid() if pid == _STARTER else pid


async def until_gone(pid: int) -> None:
    """Wait until the parent of this process is no longer `pid`."""
    while os.getppid() == pid:
        await asyncio.sleep(LOOK_S)
