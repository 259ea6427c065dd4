"""`chatq api`: serve the HTTP API."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from contextlib import ExitStack

import click
from pydantic import ValidationError

from producer.api.listening import check_bind, open_sockets
from producer.api.server import serve
from producer.cli.context import CliContext
from producer.cli.session import env_of_children
from shared.parent import follow_me, follow_option, followed
from shared.settings import ApiSettings, Settings
from shared.store.connect import Store
from shared.store.tokens import TokenStore
from shared.supervisor import Supervisor


@click.command()
@click.option(
    "--bind", metavar="ADDRESS:PORT", help="Where to listen (default: the setting, 127.0.0.1:3220)."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), metavar="N", help="Processes that share the address (default 1)."
)
@follow_option("Stop")
@click.option("--fd", type=int, hidden=True, help="A listening socket that was inherited.")
@click.pass_context
def api(
    ctx: click.Context, bind: str | None, workers: int | None, parent: int | None, fd: int | None
) -> None:
    """Serve OpenAI's API, and chatq's own jobs, over HTTP.

    SIGTERM or Ctrl-C lets calls end for a moment ([api] grace_s); a second one does not.
    """
    context: CliContext = ctx.obj
    settings = context.settings if bind is None else _bound_to(bind, context.settings)
    logging.basicConfig(
        level=settings.log.level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    count = workers or settings.api.processes
    if fd is not None:
        serve(settings, context.registry, socket.socket(fileno=fd), parent=followed(parent))
    elif count == 1:
        (listener,) = open_sockets(settings.api.bind, 1)
        serve(settings, context.registry, listener, parent=followed(parent))
    else:
        ctx.exit(_supervise(context, settings, count, followed(parent)))


def _bound_to(bind: str, settings: Settings) -> Settings:
    try:
        api = ApiSettings.model_validate({**settings.api.model_dump(), "bind": bind})
    except ValidationError as exc:
        raise click.BadParameter(
            exc.errors()[0]["msg"].removeprefix("Value error, "), param_hint="--bind"
        ) from None
    return settings.model_copy(update={"api": api})


def _supervise(context: CliContext, settings: Settings, count: int, parent: int | None) -> int:
    """Run several processes; each has its own listening socket on the same address, kept open here."""
    with ExitStack() as stack:
        env = stack.enter_context(env_of_children(context))
        asyncio.run(_check(env["CHATQ_REDIS_URL"], settings))
        listeners = [stack.enter_context(one) for one in open_sockets(settings.api.bind, count)]
        command = [sys.executable, "-m", "producer", "api", follow_me(), "--bind", settings.api.bind]
        commands = [[*command, "--fd", str(listener.fileno())] for listener in listeners]
        fds = [listener.fileno() for listener in listeners]
        return Supervisor(commands, env=env, inherited=fds, parent=parent).run()


async def _check(url: str, settings: Settings) -> None:
    """See that the processes can start: what stops one stops all of them, for good."""
    store = await Store.open(url, settings.redis)
    try:
        await check_bind(settings, TokenStore(store))
    finally:
        await store.close()
