"""`chatq status`: queues by lane, and workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from producer.cli.context import CliContext
from producer.cli.holds import describe
from producer.cli.output import echo_json, echo_table
from producer.cli.routing import as_json
from producer.cli.session import open_producer, run_async
from producer.cli.times import span
from shared.store.status import ProviderView, QueueStatus, QueueView
from shared.store.workers import WorkerView

INTERVAL_S = 1.0
"""Between two looks of `--watch`."""

QUEUE_HEADINGS = (
    "provider", "lane", "waiting", "in flight", "scheduled", "oldest", "done in", "finished", "failed",
)  # fmt: skip
WORKER_HEADINGS = ("worker", "pid", "state", "in flight", "seen", "providers")


@click.command()
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@as_json
@click.pass_obj
def status(context: CliContext, watch: bool, as_json: bool) -> None:
    """Show the queues by lane (waiting, in flight, oldest age), what holds them back, and the workers."""
    run_async(_status(context, is_watching=watch, as_json=as_json))


async def _status(context: CliContext, *, is_watching: bool, as_json: bool) -> None:
    async with open_producer(context) as producer:
        while True:
            found = await producer.status()
            if as_json:
                echo_json(found)
            else:
                if is_watching:
                    click.clear()  # does nothing in a pipe
                _print(found)
            if not is_watching:
                return
            await asyncio.sleep(INTERVAL_S)


def _print(found: QueueStatus) -> None:
    echo_table(QUEUE_HEADINGS, queue_rows(found.queues))
    click.echo()
    if lines := provider_lines(found.providers):
        click.echo("\n".join(lines) + "\n")
    if found.workers:
        echo_table(WORKER_HEADINGS, worker_rows(found.workers))
    click.echo(_closing(found))


def queue_rows(queues: Sequence[QueueView]) -> list[tuple[str, ...]]:
    """A row a queue."""
    return [
        (
            queue.provider, queue.lane or "-", f"{queue.waiting:,}", f"{queue.in_flight:,}",
            f"{queue.scheduled:,}", _span(queue.oldest_age_s), _span(queue.eta_s),
            f"{queue.finished:,}", f"{queue.failed:,}",
        )
        for queue in queues
    ]  # fmt: skip


def provider_lines(providers: Sequence[ProviderView]) -> list[str]:
    """What stands in the way of providers' jobs, each thing once: an account may serve several."""
    lines = [describe(hold) for provider in providers for hold in provider.holds]
    lines += [
        f"{provider.name}: {provider.quarantine:,} in quarantine, their workers died"
        for provider in providers
        if provider.quarantine
    ]
    return list(dict.fromkeys(lines))


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else span(seconds)


def worker_rows(workers: Sequence[WorkerView]) -> list[tuple[str, ...]]:
    """A row a worker."""
    return [
        (
            worker.name, str(worker.pid), worker.state,
            "-" if worker.in_flight is None else f"{worker.in_flight:,}",
            f"{worker.last_seen_s:.0f} s ago",
            ", ".join(sorted({queue.rpartition(".")[0] for queue in worker.queues})),
        )
        for worker in workers
    ]  # fmt: skip


def _closing(found: QueueStatus) -> str:
    waiting = sum(queue.waiting + queue.scheduled for queue in found.queues)
    waiting += sum(provider.quarantine for provider in found.providers)
    in_flight = sum(queue.in_flight for queue in found.queues)
    text = f"{waiting:,} waiting, {in_flight:,} in flight, {len(found.workers)} workers"
    if found.is_suspended:
        return f"{text}; suspended: `rq resume` lets the workers go on"
    if waiting and not found.workers:
        return f"{text}; nobody works: start a worker with `chatq worker`"
    return text
