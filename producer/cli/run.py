"""`chatq run`: a JSONL file of requests in, a JSONL file of answers out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from producer.batch import BatchRun, Plan, Tally
from producer.batch.books import Books
from producer.batch.run_file import DEFAULT_CLIENT
from producer.cli.conductor import Conductor
from producer.cli.context import CliContext
from producer.cli.dry_run import dry_run, print_forecast
from producer.cli.funds import open_funds
from producer.cli.output import echo_json
from producer.cli.own_worker import OwnWorker
from producer.cli.progress import Display
from producer.cli.routing import as_json, fallbacks, tags
from producer.cli.run_options import MIN_WINDOW, Dollars, Options, max_line_bytes
from producer.cli.session import open_producer, run_async
from producer.cli.summary import print_summary
from producer.client import Producer
from producer.submission import check_tags
from shared.errors import StoreUnavailable
from shared.job import Lane
from shared.labels import check_label

__all__ = ["Options", "run", "run_batch"]


@click.command()
@click.argument(
    "source",
    metavar="IN.jsonl",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@click.option(
    "-o",
    "--output",
    metavar="OUT.jsonl",
    type=click.Path(path_type=Path),
    help="Answers; lines without one go to OUT.errors.jsonl. A dry run can do without.",
)
@click.option("-m", "--model", help="For lines that name no model.")
@fallbacks
@tags
@click.option(
    "--lane", type=click.Choice([lane.value for lane in Lane]), default=Lane.BATCH.value, show_default=True
)
@click.option(
    "--client",
    default=DEFAULT_CLIENT,
    show_default=True,
    metavar="ID",
    help="Whose jobs they are: [clients.ID] has share, limits and budget.",
)
@click.option(
    "--max-cost", "max_cost_usd", type=Dollars(), metavar="USD",
    help="Stop when the run, earlier sessions included, has cost so much.",
)  # fmt: skip
@click.option(
    "--budget", "budget_usd", type=Dollars(), metavar="USD",
    help="Stop when the client has spent so much today (UTC); goes over [clients.ID] budget_usd.",
)  # fmt: skip
@click.option("--dry-run", "is_dry", is_flag=True, help="Submit nothing; say what it would take and cost.")
@click.option(
    "--window", type=click.IntRange(1, 1_000_000), metavar="N", help="Most lines in Redis at a time."
)
@click.option("--retry-failed", "is_retry", is_flag=True, help="Ask again for the lines in OUT.errors.jsonl.")
@click.option(
    "--restart",
    "is_restart",
    is_flag=True,
    help="Remove the output, cancel what is left of its run, and begin anew.",
)
@click.option(
    "--with-worker", is_flag=True, help="Run a worker too; on the embedded Redis this is always so."
)
@click.option(
    "--concurrency", type=click.IntRange(1, 20_000), metavar="N", help="Jobs in flight of that worker."
)
@click.option("-q", "--quiet", "is_quiet", is_flag=True, help="No progress, no summary.")
@as_json
@click.pass_context
def run(ctx: click.Context, /, as_json: bool, lane: str, **options: Any) -> None:
    """Run every line of IN.jsonl (- is standard input, .gz is read) through the queue.

    Lines are OpenAI batch lines, or {"prompt": …} / {"messages": …} with optional id, system, model and
    parameters; "tags": […] beside them are for groups. -m, --fallback and --tag are for lines that state none.
    Stopped at any moment, the same command goes on where it was. Exits with 1 if any line failed.

    With --max-cost or a budget, what does not fit any more is not asked: running calls finish, what waits is
    cancelled, and the lines left get the error budget_reached. With more money the same command asks just them.
    """  # fmt: skip
    chosen = Options(lane=Lane(lane), **options)
    check_tags(chosen.tags)
    if chosen.is_retry and chosen.is_restart:
        raise click.UsageError("--retry-failed and --restart exclude each other")
    if chosen.is_dry:
        ctx.exit(_dry_run(ctx.obj, chosen, as_json=as_json))
    if chosen.output is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    code, summary = run_batch(ctx.obj, chosen)
    if as_json:
        echo_json(summary)
    elif not chosen.is_quiet:
        print_summary(summary)
        if not summary["is_complete"] and not summary["not_asked"]:
            click.echo("not finished: run the same command again to go on")
    ctx.exit(code)


def _dry_run(context: CliContext, options: Options, *, as_json: bool) -> int:
    found = run_async(dry_run(context, options))
    if as_json:
        echo_json(found)
    else:
        print_forecast(found)
    return 1 if found["invalid"] else 0


def run_batch(context: CliContext, options: Options) -> tuple[int, dict[str, Any]]:
    """Run; returns the exit code and the summary.

    Raises:
        BatchRefused: The files do not fit.
        StoreUnavailable: Redis is gone; the same command goes on later.
        WorkerLost: The run's own worker keeps dying.
    """
    if options.output is None:
        raise ValueError("a run needs an output")
    client = check_label(options.client, field="client")
    with Books(
        options.source,
        options.output,
        is_restart=options.is_restart,
        is_retry=options.is_retry,
        client=client,
    ) as books:
        tally = books.tally()
        try:
            interrupted_by = run_async(_run(context, options, books, tally))
        except StoreUnavailable as exc:
            raise StoreUnavailable(f"{exc}; run the same command again to go on") from exc
    code = 1 if tally.failed or tally.failed_before else 0
    if interrupted_by:
        code = 128 + interrupted_by
    return code, {
        "input": str(options.source),
        "output": str(books.paths.output),
        "errors_file": str(books.paths.errors),
        "run": books.run,
        "is_complete": books.is_complete,
        **tally.summary(),
    }


async def _run(context: CliContext, options: Options, books: Books, tally: Tally) -> int:
    """Returns the number of the signal that ended the run early, or 0."""
    settings = context.settings
    display = Display(tally, is_quiet=options.is_quiet)
    concurrency = options.concurrency or settings.worker.concurrency
    async with open_producer(context) as producer:
        worker = _own_worker(context, options, producer, display)
        if options.concurrency and worker is None:
            raise click.UsageError("--concurrency is for the run's own worker: add --with-worker")
        plan = Plan(
            source=options.source,
            model=options.model,
            fallbacks=options.fallbacks,
            tags=options.tags,
            lane=options.lane,
            window=options.window or max(MIN_WINDOW, 2 * concurrency),
            max_line_bytes=max_line_bytes(settings),
            retry_s=settings.redis.retry_s,
        )
        async with open_funds(context, options, producer.redis_url, books.spent) as funds:
            conductor = Conductor(
                BatchRun(producer, books, tally, plan, funds=funds), producer, context.router,
                worker=worker, grace_s=settings.worker.grace_s, say=display.say,
            )  # fmt: skip
            async with display.shown():
                await conductor.run()
        if funds is not None and funds.budget.reached.is_set():
            tally.stopped_by = funds.budget.why
    return conductor.interrupted_by or 0


def _own_worker(
    context: CliContext, options: Options, producer: Producer, display: Display
) -> OwnWorker | None:
    if not (producer.is_embedded or options.with_worker):
        return None
    env = {**context.env, "CHATQ_REDIS_URL": producer.redis_url}
    if context.settings.source is not None:
        env["CHATQ_CONFIG"] = str(context.settings.source)
    return OwnWorker(env, concurrency=options.concurrency, note=display.note, say=display.say)
