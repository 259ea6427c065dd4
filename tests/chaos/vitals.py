"""Vitals: what a process holds, read again and again, and whether that stays flat (I22)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

READ_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Leeway:
    """How much a gauge may grow: a share of what it was, and so much more."""

    share: float = 0.0
    plus: float = 0.0


@dataclass
class Course:
    """What was read of one process, at even intervals, once it was warm.

    Attributes:
        leeways: What is read, and how much it may grow from the first quarter of the time to the last one.
    """

    name: str
    leeways: Mapping[str, Leeway]
    readings: list[Mapping[str, float]] = field(default_factory=list)

    def growth(self, gauge: str) -> tuple[float, float]:
        """What a gauge showed in the first and in the last quarter; medians, for it goes up and down."""
        values = [reading[gauge] for reading in self.readings]
        quarter = max(1, len(values) // 4)
        return median(values[:quarter]), median(values[-quarter:])

    def broken(self) -> Iterator[str]:
        """What is not flat, a line each."""
        if len(self.readings) < 4:
            yield f"{self.name}: only {len(self.readings)} readings"
            return
        for gauge, leeway in self.leeways.items():
            first, last = self.growth(gauge)
            if last > first * (1 + leeway.share) + leeway.plus:
                yield f"{self.name}: {gauge} from {first:.0f} to {last:.0f}"

    def text(self) -> str:
        """One line for a table."""
        return ", ".join("{} {:.0f} → {:.0f}".format(gauge, *self.growth(gauge)) for gauge in self.leeways)

    async def follow(self, read: Callable[[], Mapping[str, float]]) -> None:
        """Read until cancelled."""
        while True:
            self.readings.append(read())
            await asyncio.sleep(READ_EVERY_S)


def read_process(pid: int, tasks: int) -> dict[str, float]:
    """The gauges of a process."""
    process = psutil.Process(pid)
    with process.oneshot():
        return {
            "RSS MB": process.memory_info().rss / 1e6,
            "open files": process.num_fds(),
            "threads": process.num_threads(),
            "tasks": tasks,
        }


def told_tasks(path: Path) -> int:
    """How many asyncio tasks a worker says it has beside those of its jobs (`worker_main.py`)."""
    return int(path.read_text())
