"""`chatq batches`: batches of the HTTP API; look, wait, cancel, retry, download."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from producer.batcher.retry import retry_id, retry_spec
from producer.batcher.view import batch_view
from producer.cli.answer import for_terminal
from producer.cli.context import CliContext
from producer.cli.output import echo_fields, echo_json, echo_table
from producer.cli.routing import as_json
from producer.cli.session import run_async
from producer.cli.store import open_store
from producer.cli.times import moment, span
from producer.files.blobs import Blobs, open_blobs
from producer.files.content import find_content
from shared.errors import BatchNotFound, BlobMissing
from shared.settings import Settings
from shared.store.batch_record import Batch
from shared.store.batches import BatchStore
from shared.store.files import FileStore

HEADINGS = ("id", "status", "lines", "done", "failed", "made", "model")

LOOK_S = 1.0
"""Between two looks at a batch that is watched."""


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the commands work with."""

    settings: Settings
    batches: BatchStore
    files: FileStore
    blobs: Blobs

    async def get(self, batch_id: str) -> Batch:
        batch = await self.batches.get(batch_id)
        if batch is None:
            raise BatchNotFound(f"no batch {batch_id}: it never existed, or its time is over")
        return batch


@click.group()
def batches() -> None:
    """Batches of the HTTP API; `chatq batcher` runs them."""


@batches.command("list")
@click.option("--client", default="default", show_default=True, metavar="ID", help="Whose batches.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N")
@as_json
@click.pass_obj
def show_all(context: CliContext, client: str, limit: int, as_json: bool) -> None:
    """List a client's batches, newest first. With --json, one object a line."""
    found = run_async(_list(context, client, limit))
    if not as_json:
        echo_table(HEADINGS, [_row(batch) for batch in found])
        return
    for batch in found:
        echo_json(batch_view(batch))


@batches.command()
@click.argument("batch_id", metavar="ID")
@as_json
@click.pass_obj
def show(context: CliContext, batch_id: str, as_json: bool) -> None:
    """Show a batch: how far it is, what it cost, what failed."""
    _echo(run_async(_get(context, batch_id)), as_json=as_json)


@batches.command()
@click.argument("batch_id", metavar="ID")
@as_json
@click.pass_context
def watch(ctx: click.Context, batch_id: str, as_json: bool) -> None:
    """Wait for the end of a batch; exits with 1 unless every line was answered."""
    batch = run_async(_watch(ctx.obj, batch_id))
    _echo(batch, as_json=as_json)
    ctx.exit(0 if batch.status == "completed" and not batch.progress.failed else 1)


@batches.command()
@click.argument("batch_id", metavar="ID")
@as_json
@click.pass_obj
def cancel(context: CliContext, batch_id: str, as_json: bool) -> None:
    """End a batch; what is answered is kept."""
    batch = run_async(_cancel(context, batch_id))
    if as_json:
        echo_json(batch_view(batch))
    else:
        click.echo(batch.status)


@batches.command()
@click.argument("batch_id", metavar="ID")
@as_json
@click.pass_obj
def retry(context: CliContext, batch_id: str, as_json: bool) -> None:
    """Make a batch of the lines that failed; prints its id."""
    batch = run_async(_retry(context, batch_id))
    if as_json:
        echo_json(batch_view(batch))
    else:
        click.echo(batch.id)


@batches.command()
@click.argument("batch_id", metavar="ID")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="OUT.jsonl",
    help="Answers; lines without one go to OUT.errors.jsonl. Default: as the files of the batch are called.",
)  # fmt: skip
@as_json
@click.pass_obj
def download(context: CliContext, batch_id: str, output: Path | None, as_json: bool) -> None:
    """Write the results to files; of a running batch, those that are there."""
    written = run_async(_download(context, batch_id, output))
    if as_json:
        echo_json([{"path": str(path), "bytes": size} for path, size in written])
        return
    for path, size in written:
        click.echo(f"{path}  {size:,} bytes")


@asynccontextmanager
async def _open(context: CliContext) -> AsyncIterator[_Desk]:
    async with open_store(context) as store:
        blobs = open_blobs(context.settings)
        yield _Desk(context.settings, BatchStore(store), FileStore(store), blobs)


async def _list(context: CliContext, client: str, limit: int) -> list[Batch]:
    async with _open(context) as desk:
        page = await desk.batches.page(client, after=None, limit=limit)
        return page.entries if page is not None else []


async def _get(context: CliContext, batch_id: str) -> Batch:
    async with _open(context) as desk:
        return await desk.get(batch_id)


async def _watch(context: CliContext, batch_id: str) -> Batch:
    is_shown = sys.stderr.isatty()
    async with _open(context) as desk:
        while not (batch := await desk.get(batch_id)).is_ended:
            if is_shown:
                click.echo(f"\r\x1b[K{_progress(batch)}", nl=False, err=True)
            await asyncio.sleep(LOOK_S)
    if is_shown:
        click.echo("\r\x1b[K", nl=False, err=True)
    return batch


async def _cancel(context: CliContext, batch_id: str) -> Batch:
    async with _open(context) as desk:
        await desk.get(batch_id)
        await desk.batches.cancel(batch_id)
        return await desk.get(batch_id)


async def _retry(context: CliContext, batch_id: str) -> Batch:
    async with _open(context) as desk:
        batch = await desk.get(batch_id)
        spec = await retry_spec(batch, desk.files)
        new_id, ttl_s = retry_id(batch), desk.settings.batches.ttl_s
        if not await desk.batches.create(new_id, batch.client, spec, ttl_s=ttl_s):
            raise BlobMissing(f"the input file {spec.input_file_id} was deleted, or its time is over")
        return await desk.get(new_id)


async def _download(context: CliContext, batch_id: str, output: Path | None) -> list[tuple[Path, int]]:
    async with _open(context) as desk:
        batch = await desk.get(batch_id)
        written: list[tuple[Path, int]] = []
        for file_id, is_error in ((batch.output_file_id, False), (batch.error_file_id, True)):
            record = await desk.files.get(file_id or "")
            content = None if record is None else await find_content(record, desk.files, desk.batches)
            if record is None or content is None or (is_error and not content.size):
                continue
            path = Path(record.filename) if output is None else output
            if is_error and output is not None:
                path = output.with_name(f"{output.name.removesuffix('.jsonl')}.errors.jsonl")
            with path.open("wb") as file:
                async for piece in content.read(desk.blobs, 0, content.size):
                    await asyncio.to_thread(file.write, piece)
            written.append((path, content.size))
        return written


def _echo(batch: Batch, *, as_json: bool) -> None:
    if as_json:
        echo_json(batch_view(batch))
    else:
        echo_fields([(name, for_terminal(value)) for name, value in _fields(batch)])


def _row(batch: Batch) -> list[str]:
    progress = batch.progress
    counts = [f"{count:,}" for count in (progress.total, progress.completed, progress.failed)]
    return [batch.id, batch.status, *counts, moment(batch.created_at), for_terminal(progress.model or "-")]


def _fields(batch: Batch) -> list[tuple[str, str]]:
    view: dict[str, Any] = batch_view(batch)
    own = view["chatq"]
    fields = [
        ("id", batch.id),
        ("status", batch.status),
        ("endpoint", batch.spec.endpoint),
        ("lines", _progress(batch)),
        ("made", moment(batch.created_at)),
        ("window", f"{batch.spec.completion_window}, until {moment(batch.expires_at)}"),
        ("tokens", f"{view['usage']['input_tokens']:,} in, {view['usage']['output_tokens']:,} out"),
        ("cost", "unknown" if own["cost_usd"] is None else f"${own['cost_usd']}"),
        ("input", batch.spec.input_file_id),
    ]
    fields += [(name, str(own[f"{name}_file_id"])) for name in ("output", "error") if own[f"{name}_file_id"]]
    fields += [(f"failed {code}", f"{count:,}") for code, count in own["failures"].items()]
    for one in batch.errors:
        where = "input" if one.get("line") is None else f"line {one['line']}"
        fields.append((where, f"{one.get('code')}: {one.get('message')}"))
    return fields


def _progress(batch: Batch) -> str:
    progress, eta_s = batch.progress, batch_view(batch)["chatq"]["eta_s"]
    text = f"{progress.completed:,} of {progress.total:,} answered, {progress.failed:,} failed"
    return text if eta_s is None else f"{text}, about {span(eta_s)} to go"
