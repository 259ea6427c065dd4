"""The `chatq` command: finds its commands among the entry points, and turns errors into exit codes."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click

from producer.cli.context import CliContext
from shared.errors import ChatqError, ConfigError

COMMANDS = "chatq.commands"
"""Entry-point group. Commands of all packages register there, so this module imports none of them."""

INTERRUPTED = 128 + 2
"""Exit code after Ctrl-C: what a shell reports for a process that SIGINT ended."""


class CommandGroup(click.Group):
    """A group whose commands are imported only when they run."""

    @cached_property
    def _entries(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=COMMANDS)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        return sorted(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command.

        Raises:
            ConfigError: Its module cannot be imported; the cause is chained.
        """
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        try:
            command = entry.load()
        except Exception as exc:  # a module may fail to import in any way
            raise ConfigError(
                f"command {cmd_name!r} does not load: {type(exc).__name__}: {exc}; reinstall chatq"
            ) from exc
        if not isinstance(command, click.Command):
            raise ConfigError(
                f"command {cmd_name!r} does not load: {entry.value} is no command; reinstall chatq"
            )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List every command with its short help; one that does not load is listed with its error."""
        names = self.list_commands(ctx)
        room = formatter.width - 6 - max(map(len, names), default=0)
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._short_help(ctx, name, room)) for name in names])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of chatq's becomes one line on standard error and its exit code."""
        try:
            return super().invoke(ctx)
        except ChatqError as exc:
            if ctx.params.get("verbose"):
                traceback.print_exc()
            click.echo(f"chatq: {' '.join(str(exc).split())}", err=True)
            ctx.exit(exc.exit_code)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)

    def _short_help(self, ctx: click.Context, name: str, room: int) -> str:
        try:
            command = self.get_command(ctx, name)
        except ConfigError as exc:
            return f"({exc})"
        return command.get_short_help_str(room) if command else ""


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Settings file. Without it: $CHATQ_CONFIG, then ./chatq.toml.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log at debug level, and show where an error came from.")
@click.version_option(package_name="chatq", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, config: Path | None, verbose: bool) -> None:
    """Queue LLM chat jobs on Redis, run them, read the answers."""
    if verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    ctx.obj = CliContext(env=os.environ, config_path=config, is_verbose=verbose)


def main() -> None:
    """Run the command line; never returns."""
    try:
        cli(prog_name="chatq")
    except KeyboardInterrupt:  # before the command began
        sys.exit(INTERRUPTED)
