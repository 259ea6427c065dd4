"""What commands on jobs share: a loop to run on, and an open producer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import click

from producer.cli.context import CliContext
from producer.client import Producer
from shared.store.embedded import EmbeddedServer
from shared.store.status import QueueStatus

_new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    import uvloop

    _new_event_loop = uvloop.new_event_loop
except ImportError:  # no uvloop for this platform: the standard loop does the same, slower
    _new_event_loop = asyncio.new_event_loop

T = TypeVar("T")


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end on the fastest loop there is."""
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        return runner.run(main)


@asynccontextmanager
async def open_producer(context: CliContext, *, is_warning: bool = True) -> AsyncIterator[Producer]:
    """Open the producer of these settings.

    Args:
        is_warning: Whether what it has to say about the store goes to standard error; readers of one job need not
            hear it every time.

    Raises:
        StoreUnavailable: Redis cannot be reached.
        StoreUnsuitable: The server would lose jobs.
    """
    async with Producer.open(context.settings, registry=context.registry) as producer:
        for warning in producer.warnings if is_warning else ():
            warn(warning)
        yield producer


@contextmanager
def env_of_children(context: CliContext) -> Iterator[dict[str, str]]:
    """The environment of processes that share this one's settings and Redis; the embedded one is held meanwhile."""
    settings = context.settings
    with ExitStack() as stack:
        url = settings.redis.url
        if not url:
            server = stack.enter_context(EmbeddedServer(settings.redis.data_dir))
            for warning in server.warnings:
                warn(warning)
            url = server.url
        env = {**context.env, "CHATQ_REDIS_URL": url}
        if settings.source:
            env["CHATQ_CONFIG"] = str(settings.source)
        yield env


def warn(text: str) -> None:
    """Print a warning on standard error."""
    click.echo(f"chatq: warning: {text}", err=True)


async def warn_without_worker(producer: Producer, provider: str | None) -> None:
    """Warn when nobody serves the provider just now: whoever waits would wait for long."""
    status = await producer.status()
    if status.is_suspended:
        warn("the workers are suspended: `rq resume` lets them go on")
    elif provider and provider not in providers_served(status):
        warn(f"no worker serves {provider} now: {how_to_start(producer)}")


def providers_served(status: QueueStatus) -> set[str]:
    """The providers that a living worker serves."""
    return {queue.rpartition(".")[0] for worker in status.workers for queue in worker.queues}


def how_to_start(producer: Producer) -> str:
    """How to start a worker for this producer's jobs."""
    return "start one with `chatq worker`" + (" in another terminal" if producer.is_embedded else "")
