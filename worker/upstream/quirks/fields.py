"""Quirks of single request fields: renamed or left out."""

from __future__ import annotations

from typing import Any

from shared.chat import ChatRequest
from worker.upstream.quirks.quirk import ChangeBody


def renamed(old: str, new: str) -> ChangeBody:
    """A field goes under another name; where both are given, the name that is wanted counts."""

    def rename(body: dict[str, Any], request: ChatRequest) -> None:
        if old in body:
            value = body.pop(old)
            body.setdefault(new, value)

    return rename


def left_out(*names: str) -> ChangeBody:
    """Fields that are refused, or whose value is fixed so that any other is refused."""

    def leave_out(body: dict[str, Any], request: ChatRequest) -> None:
        for name in names:
            body.pop(name, None)

    return leave_out


def auto_tool_choice(body: dict[str, Any], request: ChatRequest) -> None:
    """`auto` is the only choice there is, so "none" is said by leaving the tools out."""
    if body.pop("tool_choice", None) == "none":
        body.pop("tools", None)
