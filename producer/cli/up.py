"""`chatq up`: everything that one machine needs, in one command."""

from __future__ import annotations

import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack

import click

from producer.cli.context import CliContext
from producer.cli.session import env_of_children
from producer.cli.stage import stage
from shared.errors import ConfigError
from shared.parent import follow_me
from shared.supervisor import Supervisor

READY_S = 30.0
"""How long the API may take to answer before nothing is said of it."""


@click.command()
@click.option("--bind", metavar="ADDRESS:PORT", help="Where the API listens (default: the setting).")
@click.option("--processes", type=click.IntRange(1, 64), help="Worker processes.")
@click.option("--concurrency", type=click.IntRange(1, 20_000), help="Jobs in flight per worker process.")
@click.option("--demo", "is_demo", is_flag=True, help="Play with simulated providers; nothing is kept.")
@click.pass_context
def up(
    ctx: click.Context, bind: str | None, processes: int | None, concurrency: int | None, is_demo: bool
) -> None:
    """Run Redis, the API, workers and the batcher together; Ctrl-C ends them all.

    Redis is the one that the settings name, else a private one whose data stay on this machine.
    """
    with ExitStack() as stack:
        context: CliContext = stack.enter_context(stage(ctx.obj.env)) if is_demo else ctx.obj
        code = _run(context, bind=bind, processes=processes, concurrency=concurrency)
    ctx.exit(code)


def _run(context: CliContext, *, bind: str | None, processes: int | None, concurrency: int | None) -> int:
    settings = context.settings
    if not context.registry.registered:
        raise ConfigError("no provider is registered: set a key or a base_url (see `chatq config check`)")
    address = bind or settings.api.bind
    with env_of_children(context) as env:
        commands = [
            _command("api", "--bind", address),
            *[_worker(concurrency)] * (processes or settings.worker.processes),
            _command("batcher"),
        ]
        return Supervisor(commands, env=env, on_start=lambda: _announce(address)).run()


def _command(name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "producer", name, follow_me(), *options]


def _worker(concurrency: int | None) -> list[str]:
    command = [sys.executable, "-m", "worker", "--processes", "1", follow_me()]
    return command if concurrency is None else [*command, "--concurrency", str(concurrency)]


def _announce(address: str) -> None:
    """Say where the API is, once it answers."""
    threading.Thread(target=_wait_and_say, args=(address,), name="announce", daemon=True).start()


def _wait_and_say(address: str) -> None:
    host, _, port = address.rpartition(":")
    shown = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    base = f"http://{shown}:{port}"
    give_up_at = time.monotonic() + READY_S
    while time.monotonic() < give_up_at:
        try:
            with urllib.request.urlopen(f"{base}/health", timeout=2):
                break
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    else:
        return
    click.echo(f"chatq is up: OPENAI_BASE_URL={base}/v1   (Ctrl-C ends it)", err=True)
