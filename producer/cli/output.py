"""How commands print data: one line of JSON for programs, a table for people, plain columns for pipes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click
import orjson

Rows = Sequence[Sequence[str]]


def echo_json(value: Any) -> None:
    """Print a value as one line of JSON on standard output."""
    click.echo(orjson.dumps(value))


def echo_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print named values, one a line, aligned."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        click.echo(f"{name:<{width}}  {value}")


def echo_table(headings: Sequence[str], rows: Rows) -> None:
    """Print rows: fitted to a terminal, else as whole, aligned columns for `grep` and `awk`."""
    if sys.stdout.isatty():
        # Loaded by name when needed: importing rich would add a third to the start-up time of `chatq route`.
        importlib.import_module("producer.cli.terminal").print_table(headings, rows)
        return
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
