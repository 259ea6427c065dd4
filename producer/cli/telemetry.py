"""`chatq telemetry`: what the calls did, one by one and together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import click

from producer.cli.context import CliContext
from producer.cli.duration import Duration
from producer.cli.money import cost, dollars
from producer.cli.output import echo_json, echo_table
from producer.cli.routing import as_json
from producer.cli.session import run_async, warn
from producer.cli.store import open_store
from producer.telemetry import Summary, genai_attributes
from shared.money import MICRO_USD, json_usd, read_usd
from shared.store.telemetry import COUNTER_MINUTES, Counters, Event, EventLog, read_counters, read_now

FOLLOW_S = 0.5
"""Between two looks of `--follow`."""

SHOWN_CHARS = 60
"""Longest name in a line or a table."""

SUMMARY_HEADINGS = (
    "provider", "model", "calls", "ok", "429", "failed", "retries", "p50", "p95", "p99", "first byte p95",
    "wait p95", "tokens in", "tokens out", "cost",
)  # fmt: skip


@click.group()
def telemetry() -> None:
    """Show the events of calls and jobs, or sum them up."""


@telemetry.command()
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="Newest events to show.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--otel", is_flag=True, help="Print JSON under OpenTelemetry's names for generative AI.")
@as_json
@click.pass_obj
def tail(context: CliContext, lines: int, follow: bool, otel: bool, as_json: bool) -> None:
    """Print the newest events, oldest first: one line a call, one a job that ended."""
    show = (
        (lambda event: echo_json(genai_attributes(event))) if otel else _echo_event if as_json else _echo_line
    )
    run_async(_tail(context, lines, is_following=follow, show=show))


@telemetry.command()
@click.option(
    "--since", "since_s", type=Duration(), default="1h", show_default=True, metavar="30m",
    help=f"How far to go back; counters of minutes are kept for {COUNTER_MINUTES // 60} hours.",
)  # fmt: skip
@click.option(
    "--entries", type=click.IntRange(1, 10_000_000), default=100_000, show_default=True,
    help="Read at most so many of the newest entries.",
)  # fmt: skip
@as_json
@click.pass_obj
def summary(context: CliContext, since_s: float, entries: int, as_json: bool) -> None:
    """Sum up calls by provider and model, outcomes by state, and how often jobs had to wait.

    Calls and outcomes come from the stream of events, which keeps the newest ([telemetry] stream_maxlen); the
    counts of waits, limits and moves come from counters and are complete.
    """
    found = run_async(_summary(context, since_s, entries))
    if as_json:
        echo_json(found)
    else:
        _print_summary(found)


# -- tail -----------------------------------------------------------------------------------------


async def _tail(
    context: CliContext, lines: int, *, is_following: bool, show: Callable[[Event], None]
) -> None:
    async with open_store(context) as store:
        log = EventLog(store)
        found: list[Event] = []
        last_id, broken = "0", 0
        async for page in log.newest_first(most=max(1, lines)):
            if last_id == "0":
                last_id = page.first_id
            found += page.events
            broken += page.broken
        for event in reversed(found[:lines]):
            show(event)
        _warn_of_broken(broken)
        while is_following:
            await asyncio.sleep(FOLLOW_S)
            async for page in log.after(last_id):
                last_id = page.last_id
                for event in page.events:
                    show(event)
                _warn_of_broken(page.broken)


def _warn_of_broken(count: int) -> None:
    if count:
        warn(f"{count:,} events could not be read")


def _echo_event(event: Event) -> None:
    echo_json({"recorded_at": event.at, **event.fields})


def _echo_line(event: Event) -> None:
    fields = event.fields
    error = _shown(fields.get("error"))
    if event.kind == "outcome":
        what = _shown(fields.get("state")) + (f" ({error})" if error != "-" else "")
    else:
        what = f"#{_shown(fields.get('attempt'))} " + ("ok" if error == "-" else error)
    click.echo(
        f"{_clock(event.at)}  {event.kind:<7}  {_shown(fields.get('job')):<32}  {_place(fields):<32}  {what:<24}  "
        f"{_seconds(fields.get('duration_s')):>8}  {_tokens(fields):>13}  {_cost(fields.get('cost_usd'))}".rstrip()
    )


def _clock(at: float) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(at)) + f"{at % 1:.3f}"[1:]
    except (OverflowError, ValueError, OSError):  # whoever wrote the entry also chose its id
        return "?"


def _place(fields: dict[str, Any]) -> str:
    if fields.get("provider") is None:  # ended without a call: it has its queue only
        return _shown(fields.get("queue"))
    return f"{_shown(fields.get('provider'))}/{_shown(fields.get('model'))}"


def _tokens(fields: dict[str, Any]) -> str:
    used = [fields.get("input_total"), fields.get("output_total")]
    return "-" if used == [None, None] else "→".join(_shown(value) for value in used)


def _cost(value: Any) -> str:
    amount = read_usd(value)
    return "-" if amount is None else dollars(amount)


def _seconds(value: Any) -> str:
    return f"{value:.3f} s" if isinstance(value, int | float) else "-"


def _shown(value: Any) -> str:
    """A value of an event for people; it may come from anybody, and must not steer the terminal."""
    if value is None:
        return "-"
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in str(value)[:SHOWN_CHARS])
    return text if len(str(value)) <= SHOWN_CHARS else f"{text}…"


# -- summary --------------------------------------------------------------------------------------


async def _summary(context: CliContext, since_s: float, most: int) -> dict[str, Any]:
    async with open_store(context) as store:
        now, total, oldest_at = await read_now(store), Summary(), None
        entries = broken = 0
        async for page in EventLog(store).newest_first(most=most, since=now - since_s):
            total.add(page.events)
            entries, broken = entries + page.entries, broken + page.broken
            oldest_at = int(page.last_id.partition("-")[0]) / 1000
        minutes = min(COUNTER_MINUTES, max(1, round(since_s / 60)))
        counters = await read_counters(store, minutes=minutes)
    return {
        "since_s": since_s,
        "stream": {
            "entries": entries,
            "broken": broken,
            "is_cut": entries >= most,
            "oldest_age_s": None if oldest_at is None else round(max(0.0, now - oldest_at), 3),
        },
        **total.as_dict(),
        "counters": {"minutes": minutes, **_counters(counters)},
    }


def _counters(found: Counters) -> dict[str, Any]:
    return {
        "ended": dict(found.ended),
        "limited": dict(found.limited),
        "waits": [{"provider": p, "reason": r, "count": n} for (p, r), n in sorted(found.waits.items())],
        "moved": [{"from": a, "to": b, "count": n} for (a, b), n in sorted(found.moved.items())],
        "abandoned": dict(found.abandoned),
        "calls": [{"provider": p, "ended": e, "count": n} for (p, e), n in sorted(found.calls.items())],
        "tokens": [{"provider": p, "direction": d, "count": n} for (p, d), n in sorted(found.tokens.items())],
        "cost_usd": {
            p: json_usd(n * MICRO_USD) for (p, kind), n in found.cost.items() if kind == "micro_usd"
        },
        "cost_unknown": {p: n for (p, kind), n in found.cost.items() if kind == "unknown"},
    }


def _print_summary(found: dict[str, Any]) -> None:
    if found["calls"]:
        echo_table(SUMMARY_HEADINGS, [_row(row) for row in found["calls"]])
        click.echo()
    for row in found["calls"]:
        if row["errors"]:
            codes = ", ".join(f"{count:,} × {_shown(code)}" for code, count in row["errors"].items())
            click.echo(f"{_shown(row['provider'])}/{_shown(row['model'])}: {codes}")
    counters, stream = found["counters"], found["stream"]
    outcomes = ", ".join(f"{count:,} {_shown(state)}" for state, count in found["outcomes"].items())
    click.echo(f"jobs: {outcomes or 'none ended'}")
    ended = ", ".join(f"{count:,} {_shown(state)}" for state, count in sorted(counters["ended"].items()))
    click.echo(f"counted in the last {counters['minutes']:,} minutes: {ended or 'no job ended'}")
    for line in _counter_lines(counters):
        click.echo(f"  {line}")
    click.echo(
        f"from {stream['entries']:,} entries of the stream"
        + (f", the oldest {stream['oldest_age_s']:,.0f} s ago" if stream["entries"] else "")
        + ("; there may be more: see --entries" if stream["is_cut"] else "")
    )
    _warn_of_broken(stream["broken"])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        _shown(row["provider"]), _shown(row["model"]), f"{row['calls']:,}", f"{row['ok']:,}", f"{row['limited']:,}",
        f"{row['failed'] - row['limited']:,}", f"{row['retries']:,}",
        *(_seconds(row["duration_s"][share]) for share in ("p50", "p95", "p99")),
        _seconds(row["ttfb_s"]["p95"]), _seconds(row["queue_wait_s"]["p95"]),
        f"{row['input_tokens']:,}", f"{row['output_tokens']:,}",
        cost(read_usd(row["cost_usd"]), row["cost_unknown"]),
    )  # fmt: skip


def _counter_lines(counters: dict[str, Any]) -> list[str]:
    lines = [
        f"{count:,} calls limited at {_shown(provider)}" for provider, count in counters["limited"].items()
    ]
    lines += [
        f"{w['count']:,} waits at {_shown(w['provider'])}: {_shown(w['reason'])}" for w in counters["waits"]
    ]
    lines += [
        f"{m['count']:,} jobs moved from {_shown(m['from'])} to {_shown(m['to'])}" for m in counters["moved"]
    ]
    return lines + [
        f"{count:,} jobs of dead workers at {_shown(provider)}"
        for provider, count in counters["abandoned"].items()
    ]
