"""`chatq get`, `wait` and `cancel`: one job, by id."""

from __future__ import annotations

import click

from producer.cli.answer import show
from producer.cli.context import CliContext
from producer.cli.output import echo_json
from producer.cli.routing import as_json
from producer.cli.session import open_producer, run_async, warn_without_worker
from shared.job import Job, JobState


@click.command()
@click.argument("job_id", metavar="ID")
@as_json
@click.pass_obj
def get(context: CliContext, job_id: str, as_json: bool) -> None:
    """Print a job's answer, or its state and why it waits.

    Exits with 1 when the job ended without an answer, 4 when there is no such job.
    """
    show(run_async(_get(context, job_id)), as_json=as_json)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="S", help="Give up after S seconds."
)
@as_json
@click.pass_obj
def wait(context: CliContext, job_id: str, timeout_s: float | None, as_json: bool) -> None:
    """Wait until a job has ended, then print its answer.

    Exits with 6 when the time is over before the job is; the job goes on.
    """
    show(run_async(_wait(context, job_id, timeout_s)), as_json=as_json)


@click.command()
@click.argument("job_id", metavar="ID")
@as_json
@click.pass_obj
def cancel(context: CliContext, job_id: str, as_json: bool) -> None:
    """End a job: a queued one is never sent, a running call is dropped.

    Prints the state the job is in now; one that ended before keeps its outcome.
    """
    state = run_async(_cancel(context, job_id))
    if as_json:
        echo_json({"id": job_id, "status": state})
    else:
        click.echo(state.value)


async def _get(context: CliContext, job_id: str) -> Job:
    async with open_producer(context, is_warning=False) as producer:
        return await producer.get(job_id)


async def _wait(context: CliContext, job_id: str, timeout_s: float | None) -> Job:
    async with open_producer(context, is_warning=False) as producer:
        job = await producer.get(job_id)
        if job.state is JobState.QUEUED:
            await warn_without_worker(producer, job.queue.rpartition(".")[0])
        return await producer.wait(job_id, timeout_s=timeout_s)


async def _cancel(context: CliContext, job_id: str) -> JobState:
    async with open_producer(context, is_warning=False) as producer:
        return await producer.cancel(job_id)
