"""What `chatq run` says at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from producer.cli.money import cost, dollars
from producer.cli.output import echo_table
from producer.cli.progress import clock
from shared.money import read_usd


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the closing table and what to know."""
    rows = [
        (
            row["model"], row["provider"], row["upstream_model"], f"{row['done']:,}", f"{row['failed']:,}",
            f"{row['input_tokens']:,}", f"{row['output_tokens']:,}",
            cost(read_usd(row["cost_usd"]), row["cost_unknown"]),
        )
        for row in summary["models"]
    ]  # fmt: skip
    if rows:
        echo_table(
            ("model", "provider", "sent as", "done", "failed", "tokens in", "tokens out", "cost"), rows
        )
    before = summary["recorded_before"]
    if summary["is_complete"] and not summary["done"] + summary["failed"]:
        click.echo(f"nothing to do: {before:,} lines are recorded")
    else:
        click.echo(
            f"{summary['done']:,} answered and {summary['failed']:,} failed in {clock(summary['duration_s'])} "
            f"({summary['jobs_per_s']:,.1f} jobs/s)"
            + (f"; {before:,} lines were recorded before" if before else "")
        )
    if summary["done"] + summary["failed"]:
        click.echo(f"cost: {_cost(summary)}")
    for code, count in summary["errors"].items():
        click.echo(f"  {count:,} × {code}")
    failed = summary["failed"] + summary["failed_before"]
    click.echo(f"answers: {summary['output']}")
    if failed:
        click.echo(f"errors: {summary['errors_file']} ({failed:,} lines); ask again with --retry-failed")
    if summary["not_asked"]:
        click.echo(
            f"{summary['stopped_by']}: {summary['not_asked']:,} lines were not asked; the same command with a "
            "higher limit asks them"
        )


def _cost(summary: Mapping[str, Any]) -> str:
    """`$1.2000 (unknown for 3 calls), and $0.4000 before`."""
    unknown = summary["cost_unknown"]
    spent = read_usd(summary["cost_usd"])
    text = ("unknown" if unknown else "nothing") if spent is None else dollars(spent)
    if unknown:
        text += f" (unknown for {unknown:,} calls)"
    before = read_usd(summary["cost_before_usd"])
    return text + (f", and {dollars(before)} before" if before else "")
