"""The summary of many events: what each model's calls took, cost and failed of, and how jobs ended.

It takes events one by one and keeps counts only. Their fields are untrusted: one of the wrong type is passed over.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from producer.telemetry.quantiles import Quantiles
from shared.call_costs import UNKNOWN_BASES, call_cost
from shared.money import json_usd
from shared.store.telemetry import Event

MAX_ROWS = 1000
"""Provider and model pairs kept apart; the names come with jobs, so there is no end to them."""

MAX_CODES = 100
"""Error codes and states kept apart, each."""

OTHERS = "(others)"

TIMES = ("duration_s", "ttfb_s", "queue_wait_s")
TOKENS = {
    "input_total": "input_tokens",
    "input_cached": "cached_tokens",
    "output_total": "output_tokens",
    "reasoning": "reasoning_tokens",
}


class CallsOfModel:
    """The calls to one model of one provider."""

    def __init__(self) -> None:
        self.calls = self.ok = self.limited = self.retries = self.failovers = self.maybe_billed = 0
        self.errors: defaultdict[str, int] = defaultdict(int)
        self.times = {name: Quantiles() for name in TIMES}
        self.tokens = dict.fromkeys(TOKENS, 0)
        self.cost_usd: Decimal | None = None
        self.cost_unknown = 0

    def add(self, fields: dict[str, Any]) -> None:
        """Count one call."""
        self.calls += 1
        error = fields.get("error")
        if error is None:
            self.ok += 1
        else:
            _count(self.errors, _word(error) or "?", MAX_CODES)
        self.limited += fields.get("error_class") == "limited"
        self.retries += (_number(fields.get("attempt")) or 0) > 1
        self.failovers += (_number(fields.get("candidate")) or 0) > 0
        for name, quantiles in self.times.items():
            if (seconds := _number(fields.get(name))) is not None:
                quantiles.add(seconds)
        for name in TOKENS:
            self.tokens[name] += int(_number(fields.get(name)) or 0)
        self.maybe_billed += error is not None and fields.get("maybe_billed") is True
        cost = call_cost(fields)
        if cost.usd is not None:
            self.cost_usd = (self.cost_usd or Decimal(0)) + cost.usd
        self.cost_unknown += cost.basis in UNKNOWN_BASES

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "calls": self.calls,
            "ok": self.ok,
            "failed": self.calls - self.ok,
            "errors": dict(sorted(self.errors.items(), key=lambda item: -item[1])),
            "limited": self.limited,
            "retries": self.retries,
            "failovers": self.failovers,
            "failed_maybe_billed": self.maybe_billed,
            **{name: quantiles.as_dict() for name, quantiles in self.times.items()},
            **{shown: self.tokens[name] for name, shown in TOKENS.items()},
            "cost_usd": json_usd(self.cost_usd),
            "cost_unknown": self.cost_unknown,
        }


class Summary:
    """Adds events up."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], CallsOfModel] = {}
        self._outcomes: defaultdict[str, int] = defaultdict(int)

    def add(self, events: Iterable[Event]) -> None:
        """Count these, too."""
        for event in events:
            if event.kind == "outcome":
                _count(self._outcomes, _word(event.fields.get("state")) or "?", MAX_CODES)
            else:
                self._row(event.fields).add(event.fields)

    def _row(self, fields: dict[str, Any]) -> CallsOfModel:
        # The call of a worker that died has its queue only.
        provider = _word(fields.get("provider")) or (_word(fields.get("queue")) or "?").rpartition(".")[0]
        key = (provider or "?", _word(fields.get("model")) or "?")
        if key not in self._rows and len(self._rows) >= MAX_ROWS:
            key = (OTHERS, OTHERS)
        return self._rows.setdefault(key, CallsOfModel())

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it: a row a provider and model, most calls first, and the outcomes by state."""
        rows = sorted(self._rows.items(), key=lambda item: (-item[1].calls, item[0]))
        return {
            "calls": [
                {"provider": provider, "model": model, **row.as_dict()} for (provider, model), row in rows
            ],
            "outcomes": dict(sorted(self._outcomes.items())),
        }


def _count(counts: defaultdict[str, int], word: str, most: int) -> None:
    counts[word if word in counts or len(counts) < most else OTHERS] += 1


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 300 else None


def _number(value: Any) -> float | None:
    """A count, a time or a price: not negative, not a bool, and small enough to add up."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and 0 <= value < 1e15 else None
