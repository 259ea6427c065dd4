"""`chatq cost`: what calls cost, and how that is known."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import click

from producer.cli.answer import for_terminal
from producer.cli.context import CliContext
from producer.cli.duration import Duration
from producer.cli.money import cost as shown_cost
from producer.cli.output import echo_json, echo_table
from producer.cli.routing import as_json
from producer.cli.session import run_async, warn
from producer.cli.store import open_store
from producer.cli.times import moment
from shared.call_costs import KNOWN_BASES, CostSums, Whose
from shared.money import json_usd
from shared.store.costs import KEPT_DAYS, CostDays, CostLog, day_of
from shared.store.telemetry import read_now

BY = ("model", "provider", "client", "source", "batch", "day")

SHOWN_CHARS = 80
"""Longest name in the table."""


class Period(NamedTuple):
    """What the sums are of.

    Attributes:
        since: Unix seconds.
        is_whole_days: They are sums of UTC days, so that they may begin before what was asked for.
        is_complete: Whether every call since then is in them, as far as can be told.
        note: What is to be known, for people.
    """

    since: float
    is_whole_days: bool
    is_complete: bool
    note: str


@click.command()
@click.option(
    "--by",
    type=click.Choice(BY),
    default="model",
    show_default=True,
    help="What each row is of; days are UTC's.",
)
@click.option(
    "--since", "since_s", type=Duration(), default="24h", show_default=True, metavar="7d",
    help=f"How far to go back; sums of days are kept for {KEPT_DAYS} days.",
)  # fmt: skip
@as_json
@click.pass_obj
def cost(context: CliContext, by: str, since_s: float, as_json: bool) -> None:
    """Sum up what calls cost, failed ones too, and say how many have a cost that nobody knows.

    The sums come from the stream of events ([telemetry] stream_maxlen) where it reaches back far enough, else
    from the sums of whole days that workers keep.
    """
    found, period = run_async(_read(context, since_s))
    if not context.settings.telemetry.enabled:
        warn("telemetry is off ([telemetry] enabled): new calls are not in these sums")
    rows, total = _rows(found, by)
    if as_json:
        echo_json(
            {
                "by": by,
                "period": {**period._asdict(), "gaps": found.gaps},
                "rows": [{by: name, **_as_dict(sums)} for name, sums in rows],
                "total": _as_dict(total),
            }
        )
    else:
        _print(by, rows, total, period)


async def _read(context: CliContext, since_s: float) -> tuple[CostDays, Period]:
    async with open_store(context) as store:
        log, now = CostLog(store), await read_now(store)
        since = now - since_s
        begins_at = await log.stream_begins_at(max_events=context.settings.telemetry.max_events)
        if begins_at is None or begins_at <= since:
            return await log.calls_since(since), Period(since, False, True, f"calls since {moment(since)}")
        last = day_of(now) or date.max
        first = max(day_of(since) or date.min, date.fromordinal(last.toordinal() - KEPT_DAYS))
        found = await log.read(first, last)
    return found, _of_days(found, first, begins_at)


def _of_days(found: CostDays, first: date, begins_at: float) -> Period:
    """The period of sums of days, the first of them whole."""
    if not found.is_folded:
        note = f"calls since {moment(begins_at)}: older events were dropped before a worker added them up"
        return Period(begins_at, False, False, note)
    midnight = datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()
    note = f"calls since {first} 00:00 UTC, by whole days (single events go back to {moment(begins_at)})"
    if found.gaps:
        note += (
            f"; {found.gaps:,} times events may have been dropped before a worker added them up: "
            "raise [telemetry] stream_maxlen"
        )
    return Period(midnight, True, not found.gaps, note)


def _rows(found: CostDays, by: str) -> tuple[list[tuple[str, CostSums]], CostSums]:
    """Named rows, the most expensive first (days in their order), and all together."""
    rows: defaultdict[str, CostSums] = defaultdict(CostSums)
    total = CostSums()
    for day, of_day in found.rows.items():
        for row, sums in of_day.items():
            rows[day.isoformat() if by == "day" else _name(row, by)].add(sums)
            total.add(sums)
    if by == "day":
        return sorted(rows.items()), total
    return sorted(rows.items(), key=lambda item: (-item[1].cost_usd, -item[1].calls, item[0])), total


def _name(row: Whose, by: str) -> str:
    if by == "model":
        return f"{row.provider or '-'}/{row.model or '-'}"
    return str(getattr(row, by)) or "-"


def _as_dict(sums: CostSums) -> dict[str, Any]:
    return {
        "calls": sums.calls,
        "input_tokens": sums.input_tokens,
        "cached_tokens": sums.cached_tokens,
        "output_tokens": sums.output_tokens,
        "cost_usd": json_usd(sums.cost_usd) if sums.is_known else None,
        "cost_unknown": sum(sums.unknown.values()),
        "calls_by_basis": dict(sorted(sums.bases.items())),
    }


def _print(by: str, rows: list[tuple[str, CostSums]], total: CostSums, period: Period) -> None:
    if rows:
        table = [_cells(name, sums) for name, sums in rows]
        if len(rows) > 1:
            table.append(_cells("total", total))
        echo_table((by, "calls", "tokens in", "cached", "tokens out", "cost", "how it is known"), table)
        click.echo()
    else:
        click.echo("no calls")
    click.echo(period.note)


def _cells(name: str, sums: CostSums) -> tuple[str, ...]:
    spent = sums.cost_usd if sums.is_known else None
    return (
        for_terminal(name).replace("\n", "\\n").replace("\t", "\\t")[:SHOWN_CHARS],
        f"{sums.calls:,}", f"{sums.input_tokens:,}", f"{sums.cached_tokens:,}", f"{sums.output_tokens:,}",
        shown_cost(spent, sum(sums.unknown.values())), _how_known(sums),
    )  # fmt: skip


_WORDS = {
    "reported": "reported",
    "computed": "computed",
    "local": "local (free)",
    "subscription": "in a subscription",
    "no_price": "without a price",
    "no_usage": "without a count of tokens",
    "not_stated": "nobody states it",
}


def _how_known(sums: CostSums) -> str:
    """`12 computed, 3 local (free); unknown: 2 without a price`."""
    known = ", ".join(f"{sums.bases[word]:,} {_WORDS[word]}" for word in KNOWN_BASES if sums.bases[word])
    unknown = ", ".join(f"{count:,} {_WORDS[word]}" for word, count in sums.unknown.items())
    return "; ".join(part for part in (known, unknown and f"unknown: {unknown}") if part) or "nothing billed"
