"""`chatq batcher`: run the batches of the HTTP API, and tell webhooks what has ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import click

from producer.batcher.batcher import Batcher, open_batcher
from producer.batcher.notice import batch_describer
from producer.cli.context import CliContext
from producer.cli.session import open_producer, run_async
from producer.webhooks.deliverer import open_deliverer
from shared.background import end_tasks
from shared.parent import follow_option, followed, until_gone
from shared.store.batches import BatchStore

log = logging.getLogger(__name__)


@click.command()
@follow_option("Stop")
@click.pass_obj
def batcher(context: CliContext, parent: int | None) -> None:
    """Run batches of the HTTP API, and send webhooks. Any number of these share the work.

    SIGTERM or Ctrl-C: what has ended is recorded, and the batches are given back; another batcher goes on.
    """
    logging.basicConfig(
        level=context.settings.log.level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    run_async(_run(context, followed(parent)))


async def _run(context: CliContext, parent: int | None) -> None:
    settings = context.settings
    async with (
        open_producer(context) as producer,
        open_batcher(settings, context.registry, producer) as running,
    ):
        describers = {"batch": batch_describer(BatchStore(producer.store))}
        async with open_deliverer(producer.store, settings.webhooks, describers) as deliverer:
            _stop_on_signals(running)
            delivering = asyncio.create_task(deliverer.run(), name="deliverer")
            # It ends by a bug only: then all of this process ends, for whoever watches it to start another.
            delivering.add_done_callback(lambda _: running.stop())
            helpers = [delivering]
            if parent is not None:
                helpers.append(asyncio.create_task(_follow(parent, running), name="parent"))
            log.info("batcher %d is ready", os.getpid())
            try:
                await running.run()
                if delivering.done():
                    delivering.result()
            finally:
                await end_tasks(*helpers)


def _stop_on_signals(running: Batcher) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.stop)


async def _follow(parent: int, running: Batcher) -> None:
    await until_gone(parent)
    log.warning("the process that started this one is gone: stopping")
    running.stop()
