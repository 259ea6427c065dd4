"""`chatq dead`: jobs that ended without an answer; look through, replay, drop."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import click

from producer.cli.answer import attempt_lines, for_terminal
from producer.cli.context import CliContext
from producer.cli.duration import Duration
from producer.cli.output import echo_fields, echo_json
from producer.cli.routing import as_json
from producer.cli.session import open_producer, run_async
from producer.cli.times import moment
from producer.dead import Which
from producer.job_view import job_view
from shared.job import Job

MESSAGE_CHARS = 60
"""How much of an error's text a row shows; `show` has all of it."""

ROW = "{:<32}  {:<19}  {:<22}  {:<20}  {:>8}  {}"


def _narrowed(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which dead letters are meant."""
    for option in (
        click.option("--since", "within_s", type=Duration(), metavar="2h", help="Ended in the last 2h."),
        click.option("--code", metavar="CODE", help="With this error code."),
        click.option("--queue", metavar="QUEUE", help="Of this queue, or of all lanes of this provider."),
    ):
        command = option(command)
    return command


every = click.option("--all", "is_all", is_flag=True, help="All that the other options mean.")


@click.group()
def dead() -> None:
    """Jobs that ended without an answer (failed, expired): look through, replay, drop."""


@dead.command("list")
@_narrowed
@as_json
@click.pass_obj
def list_letters(context: CliContext, /, as_json: bool, **which: Any) -> None:
    """List dead letters, newest first. With --json, one object a line."""
    run_async(_list(context, Which(**which), as_json=as_json))


@dead.command()
@click.argument("job_id", metavar="ID")
@as_json
@click.pass_obj
def show(context: CliContext, job_id: str, as_json: bool) -> None:
    """Show one dead letter with all its attempts."""
    job = run_async(_get(context, job_id))
    if as_json:
        echo_json(job_view(job))
        return
    fields = _fields(job)
    echo_fields([(name, for_terminal(value)) for name, value in fields])


@dead.command()
@click.argument("job_ids", nargs=-1, metavar="[ID]...")
@every
@_narrowed
@click.option("--model", metavar="MODEL", help="Ask for this model instead, wherever it is sent.")
@as_json
@click.pass_obj
def replay(
    context: CliContext,
    /,
    job_ids: tuple[str, ...],
    is_all: bool,
    model: str | None,
    as_json: bool,
    **which: Any,
) -> None:
    """Queue dead letters again, by ID or --all, with all their attempts and no deadline."""
    _check(job_ids, is_all, which)
    count = run_async(_replay(context, job_ids, Which(**which), model))
    if as_json:
        echo_json({"replayed": count})
    else:
        click.echo(f"{count:,} queued again")


@dead.command()
@click.argument("job_ids", nargs=-1, metavar="[ID]...")
@every
@_narrowed
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask before --all.")
@as_json
@click.pass_obj
def drop(
    context: CliContext, /, job_ids: tuple[str, ...], is_all: bool, is_sure: bool, as_json: bool, **which: Any
) -> None:
    """Delete dead letters, by ID or --all."""
    _check(job_ids, is_all, which)
    if is_all and not is_sure:
        named = ", ".join(f"{name} {value}" for name, value in which.items() if value is not None)
        if not click.confirm(f"Delete all dead letters{f' ({named})' if named else ''}?", err=True):
            raise click.UsageError("nothing was deleted; --yes says so beforehand")
    count = run_async(_drop(context, job_ids, Which(**which)))
    if as_json:
        echo_json({"dropped": count})
    else:
        click.echo(f"{count:,} deleted")


def _check(job_ids: tuple[str, ...], is_all: bool, which: dict[str, Any]) -> None:
    if bool(job_ids) == is_all:
        raise click.UsageError("give either IDs or --all")
    if job_ids and any(value is not None for value in which.values()):
        raise click.UsageError("--queue, --code and --since go with --all")


async def _list(context: CliContext, which: Which, *, as_json: bool) -> None:
    async with open_producer(context, is_warning=False) as producer:
        if not as_json:
            click.echo(ROW.format("id", "ended", "queue", "error", "attempts", "message"))
        async for page in producer.dead.find(which):
            for job in page:
                if as_json:
                    echo_json(job_view(job))
                else:
                    click.echo(_row(job))


async def _get(context: CliContext, job_id: str) -> Job:
    async with open_producer(context, is_warning=False) as producer:
        return await producer.dead.get(job_id)


async def _replay(context: CliContext, job_ids: tuple[str, ...], which: Which, model: str | None) -> int:
    async with open_producer(context) as producer:
        if job_ids:
            return len(await producer.dead.replay(job_ids, model=model))
        return await _counted(producer.dead.replay_all(which, model=model), "queued again")


async def _drop(context: CliContext, job_ids: tuple[str, ...], which: Which) -> int:
    async with open_producer(context, is_warning=False) as producer:
        if job_ids:
            return await producer.dead.drop(job_ids)
        return await _counted(producer.dead.drop_all(which), "deleted")


async def _counted(counts: AsyncIterator[int], words: str) -> int:
    """Run through; on a terminal the count is seen to grow."""
    count = 0
    is_shown = sys.stderr.isatty()
    async for count in counts:
        if is_shown:
            click.echo(f"\rchatq: {count:,} {words}", nl=False, err=True)
    if is_shown:
        click.echo(err=True)
    return count


def _row(job: Job) -> str:
    code, message = (job.error.code, job.error.message) if job.error else ("-", "")
    ended = moment(job.ended_at) if job.ended_at else "-"
    text = for_terminal(" ".join(message.split()))
    short = text if len(text) <= MESSAGE_CHARS else f"{text[: MESSAGE_CHARS - 1]}…"
    return ROW.format(job.id, ended, job.queue, for_terminal(code), job.attempts, short).rstrip()


def _fields(job: Job) -> list[tuple[str, str]]:
    fields = [("id", job.id), ("state", job.state.value), ("queue", job.queue)]
    fields.append(("model", job.requested_model or "-"))
    fields.append(("candidates", ", then ".join(f"{c.provider}: {c.model}" for c in job.candidates) or "-"))
    if job.error is not None:
        fields.append(("error", f"{job.error.code}: {job.error.message}"))
    if job.created_at:
        fields.append(("submitted", moment(job.created_at)))
    if job.ended_at:
        fields.append(("ended", moment(job.ended_at)))
    fields += [(f"metadata {name}", str(value)) for name, value in job.metadata.items()]
    return fields + attempt_lines(job)
