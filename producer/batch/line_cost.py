"""What a line of a batch cost, as its record keeps it: so a run that goes on knows what was spent before."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from producer.job_cost import JobCost
from shared.money import MOST_USD, write_usd

_TAIL_BYTES = 200
_TAIL = re.compile(
    rb'"chatq":\s*\{"cost_usd":\s*(?P<usd>[0-9.e+-]{1,40}),\s*"cost_unknown":\s*(?P<unknown>[0-9]{1,9})'
    rb'(?:,\s*"assumed_usd":\s*(?P<assumed>[0-9.e+-]{1,40}))?\}\}\s*\Z'
)


class LineCost(NamedTuple):
    """The cost of a line's calls, failed ones included.

    Attributes:
        usd: Of the calls whose cost is known.
        unknown: Calls that may be billed and whose cost nobody knows.
        assumed_usd: What those count against a limit: their estimate. 0 where no limit was set.
    """

    usd: Decimal = Decimal(0)
    unknown: int = 0
    assumed_usd: Decimal = Decimal(0)

    @property
    def counted_usd(self) -> Decimal:
        """What it counts against a limit."""
        return self.usd + self.assumed_usd

    def encode(self) -> bytes:
        """As the end of a record has it."""
        assumed = f',"assumed_usd":{write_usd(self.assumed_usd)}' if self.assumed_usd else ""
        return f'{{"cost_usd":{write_usd(self.usd)},"cost_unknown":{self.unknown}{assumed}}}'.encode()


NOTHING = LineCost()


def cost_of(job: JobCost, estimate_usd: Decimal = Decimal(0)) -> LineCost:
    """A job's cost; each call of unknown cost is assumed to have cost the estimate."""
    return LineCost(job.usd, job.unknown, job.unknown * estimate_usd)


def read_cost(record: bytes) -> LineCost:
    """The cost in a record; one without it says nothing of its cost, which is unknown then."""
    match = _TAIL.search(record, max(0, len(record) - _TAIL_BYTES))
    if match is None:
        return LineCost(unknown=1)
    return LineCost(_amount(match["usd"]), int(match["unknown"]), _amount(match["assumed"] or b"0"))


def total(costs: Iterable[LineCost]) -> LineCost:
    """All together."""
    usd, unknown, assumed_usd = Decimal(0), 0, Decimal(0)
    for cost in costs:
        usd, unknown, assumed_usd = usd + cost.usd, unknown + cost.unknown, assumed_usd + cost.assumed_usd
    return LineCost(usd, unknown, assumed_usd)


def _amount(digits: bytes) -> Decimal:
    """An amount; 0 for what is none, and was not written by us."""
    try:
        amount = Decimal(digits.decode())
    except InvalidOperation:
        return Decimal(0)
    return amount if 0 <= amount < MOST_USD else Decimal(0)
