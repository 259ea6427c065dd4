"""The tally of a run: what was recorded, by model and by error code; the live display and the summary read it."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from producer.batch.line_cost import NOTHING, LineCost
from producer.batch.record import BUDGET_REACHED, error_code, is_answered
from shared.job import Job
from shared.money import json_usd

MAX_ROWS = 200
"""Models counted apart; a file that names thousands would otherwise fill memory and screen."""

RATE_WINDOW_S = 15.0
"""The shown rate is over this time: long enough to be calm, short enough for a useful ETA."""


class RowKey(NamedTuple):
    """What answers are counted by."""

    model: str
    """As the line asked for it."""
    provider: str
    upstream_model: str


@dataclass(slots=True)
class Row:
    """The outcomes of one model."""

    done: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    """Of all calls whose cost is known, failed ones included."""
    cost_unknown: int = 0
    """Calls that may be billed and whose cost nobody knows."""

    def add(self, other: Row) -> None:
        """Add another row's counts to this one."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def known_cost_usd(self) -> Decimal | None:
        """The cost, None when all that is known of it is that it is unknown."""
        is_known = self.cost_usd or self.done + self.failed > self.cost_unknown
        return self.cost_usd if is_known else None


@dataclass(slots=True)
class Tally:
    """Counts of lines; `recorded_before` and `failed_before` are of earlier runs on the same output."""

    total: int | None = None
    """Lines of the input, blank ones included, as far as known."""
    recorded_before: int = 0
    failed_before: int = 0
    cost_before: LineCost = NOTHING
    """Of earlier runs on the same output."""
    in_flight: int = 0
    rows: dict[RowKey, Row] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    bad_lines: int = 0
    stopped_by: str = ""
    """Which limit of cost ended the run, if one did."""
    notice: str = ""
    """What the run waits for just now, if it does."""
    started_at: float = field(default_factory=time.monotonic)
    _recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=1000))

    def add_job(self, job: Job, cost: LineCost) -> None:
        """Count a recorded job."""
        row = self._row_of(job)
        row.cost_usd += cost.usd
        row.cost_unknown += cost.unknown
        if job.response is None or not is_answered(job):
            row.failed += 1
            self.errors[error_code(job)] += 1
            return
        row.done += 1
        usage = (job.response.get("chatq") or {}).get("usage") or {}
        row.input_tokens += usage.get("input_total") or 0
        row.output_tokens += usage.get("output_total") or 0

    def add_bad_line(self, code: str) -> None:
        """Count a recorded line that became no job."""
        self.bad_lines += 1
        self.errors[code] += 1

    def sum(self) -> Row:
        """All rows together."""
        total = Row()
        for row in list(self.rows.values()):
            total.add(row)
        return total

    @property
    def done(self) -> int:
        """Lines answered in this run."""
        return sum(row.done for row in list(self.rows.values()))

    @property
    def failed(self) -> int:
        """Lines that failed in this run, bad ones included."""
        return self.bad_lines + sum(row.failed for row in list(self.rows.values()))

    @property
    def not_asked(self) -> int:
        """Lines that were left out because the money was spent."""
        return self.errors[BUDGET_REACHED]

    @property
    def remaining(self) -> int | None:
        """Lines not recorded yet; None while the length of the input is unknown."""
        if self.total is None:
            return None
        return max(0, self.total - self.recorded_before - self.done - self.failed)

    @property
    def duration_s(self) -> float:
        """Time since the run began."""
        return time.monotonic() - self.started_at

    def rate_per_s(self) -> float:
        """Lines recorded per second lately; call it regularly."""
        now_s, count = time.monotonic(), self.done + self.failed
        self._recent.append((now_s, count))
        while len(self._recent) > 2 and self._recent[0][0] < now_s - RATE_WINDOW_S:
            self._recent.popleft()
        then_s, before = self._recent[0]
        return (count - before) / (now_s - then_s) if now_s > then_s else 0.0

    def summary(self) -> dict[str, Any]:
        """Everything as plain data, for `--json` and the closing table."""
        total, duration_s = self.sum(), self.duration_s
        return {
            "done": self.done,
            "failed": self.failed,
            "recorded_before": self.recorded_before,
            "failed_before": self.failed_before,
            "remaining": self.remaining,
            "duration_s": round(duration_s, 3),
            "jobs_per_s": round((self.done + self.failed) / max(duration_s, 1e-9), 1),
            "input_tokens": total.input_tokens,
            "output_tokens": total.output_tokens,
            **_cost(total),
            "cost_before_usd": json_usd(self.cost_before.usd),
            "not_asked": self.not_asked,
            "stopped_by": self.stopped_by,
            "models": [_row(key, row) for key, row in sorted(self.rows.items())],
            "errors": dict(self.errors.most_common()),
        }

    def _row_of(self, job: Job) -> Row:
        record = (job.response or {}).get("chatq") or {}
        candidate = job.candidate
        key = RowKey(
            job.requested_model or "?",
            record.get("provider") or (candidate.provider if candidate else "?"),
            record.get("upstream_model") or (candidate.model if candidate else "?"),
        )
        if key not in self.rows and len(self.rows) >= MAX_ROWS:
            key = RowKey("(others)", "", "")
        return self.rows.setdefault(key, Row())


def _row(key: RowKey, row: Row) -> dict[str, Any]:
    return {
        **key._asdict(),
        "done": row.done,
        "failed": row.failed,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        **_cost(row),
    }


def _cost(row: Row) -> dict[str, Any]:
    """Cost that is unknown is null, never 0."""
    return {"cost_usd": json_usd(row.known_cost_usd), "cost_unknown": row.cost_unknown}
