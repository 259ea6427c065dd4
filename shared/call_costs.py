"""What calls cost, added up by whose they are. Pure; `shared/store/costs.py` keeps the sums.

The fields of events and what is read back are untrusted: Redis is open to anybody who reaches it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import orjson

from shared.money import MOST_USD, read_usd

KNOWN_BASES = ("reported", "computed", "local", "subscription")
"""Where a cost comes from: the provider's word, the catalogue; own machines and flat plans cost nothing a call."""

UNKNOWN_BASES = ("no_price", "no_usage", "not_stated")
"""Why a cost is not known; `not_stated`: nobody said why."""

UNBILLED = "unbilled"
"""Turned away, or never sent: there is nothing to pay."""


_BASES = (*KNOWN_BASES, *UNKNOWN_BASES, UNBILLED)

_MOST_TOKENS = 10**10
"""Of one call; more is no count of tokens. Sums of a million calls of it fit into JSON's numbers."""


class CallCost(NamedTuple):
    """What one call cost, and how that is known, or why not."""

    usd: Decimal | None
    basis: str


def call_cost(fields: dict[str, Any]) -> CallCost:
    """The cost of an attempt event."""
    usd, word = read_usd(fields.get("cost_usd")), fields.get("cost_source")
    if usd is not None:
        return CallCost(usd, word if word in KNOWN_BASES else "reported")
    if fields.get("maybe_billed") is not True:
        return CallCost(None, UNBILLED)
    return CallCost(None, word if word in UNKNOWN_BASES else "not_stated")


class Whose(NamedTuple):
    """What calls are kept apart by; empty where an event does not say."""

    provider: str = ""
    model: str = ""
    client: str = ""
    source: str = ""
    batch: str = ""

    def encode(self) -> bytes:
        """As the field of a day's hash."""
        return orjson.dumps(list(self))


OTHERS = Whose(*["(others)"] * len(Whose._fields))


@dataclass(slots=True)
class CostSums:
    """Sums over calls.

    Attributes:
        bases: Calls by how their cost is known, or why it is not.
    """

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    bases: Counter[str] = field(default_factory=Counter)

    @property
    def unknown(self) -> dict[str, int]:
        """Calls whose cost is not known, by reason."""
        return {word: self.bases[word] for word in UNKNOWN_BASES if self.bases[word]}

    @property
    def is_known(self) -> bool:
        """Whether any call's cost is known."""
        return any(self.bases[word] for word in KNOWN_BASES)

    def add_call(self, fields: dict[str, Any]) -> None:
        """Add one attempt event."""
        cost = call_cost(fields)
        self.calls += 1
        self.input_tokens += _count(fields.get("input_total"), most=_MOST_TOKENS)
        self.cached_tokens += _count(fields.get("input_cached"), most=_MOST_TOKENS)
        self.output_tokens += _count(fields.get("output_total"), most=_MOST_TOKENS)
        self.cost_usd += cost.usd or 0
        self.bases[cost.basis] += 1

    def add(self, other: CostSums) -> None:
        """Add the sums of other calls."""
        self.calls += other.calls
        self.input_tokens += other.input_tokens
        self.cached_tokens += other.cached_tokens
        self.output_tokens += other.output_tokens
        self.cost_usd += other.cost_usd
        self.bases.update(other.bases)

    def encode(self) -> bytes:
        """As a day's hash keeps it."""
        return orjson.dumps(
            {
                "calls": self.calls,
                "input": self.input_tokens,
                "cached": self.cached_tokens,
                "output": self.output_tokens,
                "usd": str(self.cost_usd),
                "bases": dict(self.bases),
            }
        )


def whose(fields: dict[str, Any]) -> Whose:
    """Whose call an attempt event is of."""
    # The call of a worker that died has its queue only.
    provider = _word(fields.get("provider")) or _word(fields.get("queue")).rpartition(".")[0]
    return Whose(provider, *(_word(fields.get(name)) for name in Whose._fields[1:]))


def read_whose(raw: bytes) -> Whose | None:
    """Whose calls, as `Whose.encode` wrote it; None for anything else."""
    words = _json(raw)
    is_ours = isinstance(words, list) and len(words) == len(Whose._fields)
    return Whose(*words) if is_ours and all(isinstance(word, str) for word in words) else None


def read_sums(raw: bytes | None) -> CostSums:
    """Sums as they were encoded; nothing for what cannot be read."""
    value = _json(raw) if raw else None
    if not isinstance(value, dict):
        return CostSums()
    calls, read, cached, written = (
        _count(value.get(name)) for name in ("calls", "input", "cached", "output")
    )
    bases = value.get("bases")
    known = Counter({word: _count(bases.get(word)) for word in _BASES if isinstance(bases, dict)})
    return CostSums(calls, read, cached, written, _amount(value.get("usd")), +known)


def _amount(text: Any) -> Decimal:
    try:
        amount = Decimal(text) if isinstance(text, str) else Decimal(0)
    except InvalidOperation:
        return Decimal(0)
    return amount if amount.is_finite() and 0 <= amount < MOST_USD else Decimal(0)


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _count(value: Any, *, most: int = 2**63) -> int:
    """A number of tokens or calls; 0 for anything else."""
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 <= value < most else 0


def _word(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= 300 else ""
