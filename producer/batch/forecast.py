"""The forecast of a run: what its lines would take, were they asked once each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from producer.batch.estimate import Call, Estimate, Range
from producer.batch.ledger import Ledger
from producer.batch.output import OutputFiles
from producer.batch.reader import BadLine
from producer.batch.record import Head
from producer.batch.tally import MAX_ROWS, RowKey
from shared.job import Candidate

MAX_EXAMPLES = 10
"""Bad lines that are kept to be shown."""


@dataclass(slots=True)
class Share:
    """What the lines of one model would take; ranges go from the usual answer to one that few exceed."""

    lines: int = 0
    input_tokens: int = 0
    output_tokens: Range = (0, 0)
    cost_usd: tuple[Decimal, Decimal] = (Decimal(0), Decimal(0))
    cost_unknown: int = 0
    """Lines for which no price is known."""

    def add(self, found: Estimate) -> None:
        """Add a line."""
        self.lines += 1
        for call in found.calls:
            self.input_tokens += call.input_tokens
            self.output_tokens = _plus(self.output_tokens, call.output_tokens)
        if found.cost_usd is None:
            self.cost_unknown += 1
        else:
            low, high = found.cost_usd
            self.cost_usd = (self.cost_usd[0] + low, self.cost_usd[1] + high)

    def merge(self, other: Share) -> None:
        """Add the lines of another share."""
        self.lines += other.lines
        self.input_tokens += other.input_tokens
        self.output_tokens = _plus(self.output_tokens, other.output_tokens)
        self.cost_usd = (self.cost_usd[0] + other.cost_usd[0], self.cost_usd[1] + other.cost_usd[1])
        self.cost_unknown += other.cost_unknown


@dataclass(slots=True)
class Load:
    """What a scope of limits would be asked for.

    Attributes:
        busy_s: Time of all calls, one after the other.
        is_timed: Whether that is known of every call.
    """

    calls: int = 0
    tokens: Range = (0, 0)
    busy_s: float = 0.0
    is_timed: bool = True

    def add(self, call: Call) -> None:
        """Add a call."""
        low, high = call.output_tokens
        self.calls += 1
        self.tokens = _plus(self.tokens, (call.input_tokens + low, call.input_tokens + high))
        self.busy_s += call.duration_s or 0.0
        self.is_timed = self.is_timed and call.duration_s is not None


class Ceiling(NamedTuple):
    """The limits of a scope; None = there is none."""

    rpm: float | None = None
    tpm: float | None = None
    concurrency: float | None = None


class Pace(NamedTuple):
    """How long a run takes at least, by its limits.

    Attributes:
        seconds: With answers of the usual length, and with long ones.
        scope: Whose limit decides, and which.
    """

    seconds: tuple[float, float]
    scope: str
    limit: str


@dataclass(slots=True)
class Forecast:
    """Adds lines up."""

    recorded_before: int = 0
    rows: dict[RowKey, Share] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    examples: list[BadLine] = field(default_factory=list)
    """The first bad lines."""
    loads: dict[Candidate, Load] = field(default_factory=lambda: defaultdict(Load))

    def add(self, requested_model: str, found: Estimate) -> None:
        """Add a line that would be asked."""
        key = RowKey(requested_model, found.candidate.provider, found.candidate.model)
        if key not in self.rows and len(self.rows) >= MAX_ROWS:
            key = RowKey("(others)", "", "")
        self.rows.setdefault(key, Share()).add(found)
        for call in found.calls:
            self.loads[call.candidate].add(call)

    def add_bad(self, line: BadLine) -> None:
        """Add a line that would be an error."""
        self.errors[line.code] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(line)

    def total(self) -> Share:
        """All models together."""
        total = Share()
        for share in self.rows.values():
            total.merge(share)
        return total


def note_recorded(ledger: Ledger, files: OutputFiles, *, is_retry: bool) -> int:
    """Note the lines that a run on these files would not ask again; returns how many.

    Raises:
        BatchRefused: The files are not ours.
    """
    count = 0

    def heads() -> Iterator[Head]:
        yield from files.recorded()
        for head in files.failed():
            if not (is_retry or head.is_mark):
                yield head

    def lines() -> Iterator[tuple[int, str]]:
        nonlocal count
        for head in heads():
            count += 1
            yield head.number, head.custom_id

    ledger.note_recorded(lines())
    return count


def together(loads: Iterable[Load]) -> Load:
    """What one scope is asked for by several."""
    total = Load()
    for load in loads:
        total.calls += load.calls
        total.tokens = _plus(total.tokens, load.tokens)
        total.busy_s += load.busy_s
        total.is_timed = total.is_timed and load.is_timed
    return total


def slowest(loads: Mapping[str, Load], ceilings: Mapping[str, Ceiling]) -> Pace | None:
    """The scope whose limits take longest; None where no limit is known that tells a time."""
    paces = [pace for scope, load in loads.items() for pace in _paces(scope, load, ceilings[scope])]
    return max(paces, key=lambda pace: pace.seconds[::-1], default=None)


def _paces(scope: str, load: Load, ceiling: Ceiling) -> Iterator[Pace]:
    low, high = load.tokens
    if ceiling.rpm:
        seconds = 60 * load.calls / ceiling.rpm
        yield Pace((seconds, seconds), scope, f"{ceiling.rpm:,.0f} rpm")
    if ceiling.tpm:
        yield Pace((60 * low / ceiling.tpm, 60 * high / ceiling.tpm), scope, f"{ceiling.tpm:,.0f} tpm")
    if ceiling.concurrency and load.is_timed:
        seconds = load.busy_s / ceiling.concurrency
        yield Pace((seconds, seconds), scope, f"{ceiling.concurrency:,.0f} calls at a time")


def _plus(a: Range, b: Range) -> Range:
    return a[0] + b[0], a[1] + b[1]
