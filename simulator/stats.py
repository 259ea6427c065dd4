"""Counts over all chat calls since the start or the last reset."""

from __future__ import annotations

from collections import Counter
from typing import Any

from simulator.calllog import CallRecord


class Stats:
    """Totals of ended calls, and the peak of admitted ones."""

    def __init__(self) -> None:
        self.max_in_flight = 0
        self._statuses: Counter[int | None] = Counter()
        self._wires: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._prompt_tokens = 0
        self._output_tokens = 0

    def admitted(self, in_flight: int) -> None:
        """Note how many calls are in flight, now that one more is."""
        if in_flight > self.max_in_flight:
            self.max_in_flight = in_flight

    def ended(self, record: CallRecord) -> None:
        """Count an ended call."""
        self._statuses[record.status] += 1
        self._wires[record.wire] += 1
        if record.fault is not None:
            self._faults[record.fault] += 1
        self._prompt_tokens += record.prompt_tokens
        self._output_tokens += record.output_tokens

    def snapshot(self, in_flight: int) -> dict[str, Any]:
        """The counts as JSON; a call that got no status line counts under `none`."""
        return {
            "calls": self._statuses.total(),
            "in_flight": in_flight,
            "max_in_flight": self.max_in_flight,
            "by_status": {str(status or "none"): count for status, count in self._statuses.items()},
            "by_wire": dict(self._wires),
            "by_fault": dict(self._faults),
            "prompt_tokens": self._prompt_tokens,
            "output_tokens": self._output_tokens,
        }
