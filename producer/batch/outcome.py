"""Outcomes: what became of lines, and where that is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from producer.batch.line_cost import LineCost
from producer.batch.reader import BadLine
from shared.job import Job


@dataclass(frozen=True, slots=True)
class LineRef:
    """Which line a job answers.

    Attributes:
        asked: See `Line`.
    """

    number: int
    custom_id: str
    asked: Mapping[str, Any] | None = None


class Ended(NamedTuple):
    """A line whose job ended."""

    line: LineRef
    job: Job
    cost: LineCost


Outcome = Ended | BadLine
"""A line that is to be recorded."""


class Output(Protocol):
    """Where outcomes are recorded: files of this machine (`output.py`), or segments in the file store."""

    @property
    def pause_s(self) -> float:
        """How long outcomes wait for others to be recorded with them, in seconds."""

    async def append(self, group: Sequence[Outcome]) -> None:
        """Record outcomes; they last when this returns.

        Raises:
            BatchRefused, FilesUnavailable, StoreError, LeaseLost: They are not, or not all of them. Nothing may be
                appended after that.
        """
