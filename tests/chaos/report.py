"""What one run of the nemesis came to, as a table."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.checker import recovery_times
from tests.chaos.evidence import Evidence
from tests.chaos.windows import WINDOWS_S, is_refused, share_not_held_up, used


@dataclass
class Report:
    """What one run came to."""

    seed: int
    minutes: float
    faults: Counter[str]
    evidence: Evidence
    worst_script_ms: float

    def rows(self) -> list[tuple[str, str]]:
        """Name and value, for a table."""
        snapshot, times = self.evidence.snapshot, recovery_times(self.evidence)
        states = Counter(job.get("cq_state", "open") for job in snapshot.jobs.values())
        calls = Counter(call.job for call in self.evidence.all_calls() if call.status == 200)
        spare = sum(calls.values()) - len(calls)
        ends = Counter(event["job"] for event in snapshot.outcomes)
        percentiles = statistics.quantiles(times, n=100) if len(times) > 1 else [0.0] * 99
        slowest, totals = max(times, default=0.0), snapshot.totals
        return [
            ("seed", str(self.seed)),
            ("minutes", f"{self.minutes:g}"),
            ("faults injected", f"{self.faults.total()} of {len(self.faults)} kinds"),
            ("", ", ".join(f"{name} {times}" for name, times in sorted(self.faults.items()))),
            ("jobs accepted", str(len(self.evidence.asks))),
            ("outcomes", ", ".join(f"{state} {count}" for state, count in sorted(states.items()))),
            ("lost", str(len(self.evidence.asks.keys() - snapshot.jobs.keys()))),
            ("jobs with two outcomes", str(sum(n > 1 for n in ends.values()))),
            ("answers paid for twice", str(spare)),
            ("salvaged · stale outcomes", f"{totals.get('salvaged', 0)} · {totals.get('stale', 0)}"),
            ("jobs rescued", str(totals.get("rescued", 0))),
            ("recoveries", str(len(times))),
            ("recovery p50 · p99 · max", f"{percentiles[49]:.1f} · {percentiles[98]:.1f} · {slowest:.1f} s"),
            ("slowest script", f"{self.worst_script_ms:.1f} ms"),
            *((f"used: {name}", _windows_text(shares)) for name, shares in used(self.evidence)),
            ("calls refused for a limit", str(sum(map(is_refused, self.evidence.all_calls())))),
            ("calls not held up", f"{share_not_held_up(self.evidence):.0%}"),
            *((course.name, course.text()) for course in self.evidence.courses),
        ]  # fmt: skip


def _windows_text(shares: Sequence[float]) -> str:
    return ", ".join(f"{window_s:g} s {share:.0%}" for window_s, share in zip(WINDOWS_S, shares, strict=True))
