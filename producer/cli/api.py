"""`chatq api`: serve the HTTP API."""

from __future__ import annotations

import logging
import sys

import click

from producer.api.server import serve
from producer.cli.context import CliContext


@click.command()
@click.option(
    "--bind", metavar="ADDRESS:PORT", help="Where to listen (default: the setting, 127.0.0.1:3220)."
)
@click.pass_obj
def api(context: CliContext, bind: str | None) -> None:
    """Serve OpenAI's API, and chatq's own jobs, over HTTP."""
    settings = context.settings
    if bind is not None:
        settings = settings.model_copy(update={"api": settings.api.model_copy(update={"bind": bind})})
    logging.basicConfig(
        level=settings.log.level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    serve(settings, context.registry)
