"""`chatq webhooks`: what is still to be told, what became of it, telling it again, trying a receiver."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from producer.cli.context import CliContext
from producer.cli.output import echo_fields, echo_json, echo_table
from producer.cli.routing import as_json
from producer.cli.session import run_async
from producer.cli.store import open_store
from producer.cli.times import moment
from producer.webhooks.event import Notice, event_of
from producer.webhooks.sender import Answer, Sender
from producer.webhooks.target import check_webhook_url
from producer.webhooks.view import delivery_view
from shared.store.webhooks import Delivery, WebhookOutbox, ref_of


@click.group()
def webhooks() -> None:
    """Calls to clients' own addresses when something has ended; `chatq batcher` makes them."""


@webhooks.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, metavar="N", help="At most so many.")
@as_json
@click.pass_obj
def show_waiting(context: CliContext, limit: int, as_json: bool) -> None:
    """List the ends that are not told yet, the earliest first."""
    found = run_async(_waiting(context, limit))
    if as_json:
        echo_json([{"ref": ref, "due_at": due_at} for ref, due_at in found])
    else:
        echo_table(("end of", "due"), [(ref, moment(due_at)) for ref, due_at in found])


@webhooks.command()
@click.argument("object_id", metavar="ID")
@as_json
@click.pass_obj
def show(context: CliContext, object_id: str, as_json: bool) -> None:
    """Show the calls made for the end of a job, batch or response."""
    view = run_async(_read(context, object_id, is_again=False))
    if as_json:
        echo_json(view)
        return
    next_at = view["next_at"]
    echo_fields(
        [
            ("state", view["state"]),
            ("attempts", str(view["attempts"])),
            *([("next", moment(next_at))] if next_at is not None else []),
        ]
    )
    rows = [
        [moment(entry["at"] or 0.0), entry["type"] or "", str(entry["status"] or ""), entry["error"] or "ok"]
        for entry in view["log"]
    ]
    echo_table(("at", "event", "status", "error"), rows)


@webhooks.command()
@click.argument("object_id", metavar="ID")
@as_json
@click.pass_obj
def redeliver(context: CliContext, object_id: str, as_json: bool) -> None:
    """Tell of an end again, under the same webhook-id, with all attempts again."""
    view = run_async(_read(context, object_id, is_again=True))
    if as_json:
        echo_json(view)
    else:
        click.echo(f"the end of {object_id} is told again")


@webhooks.command()
@click.argument("url", metavar="URL")
@as_json
@click.pass_context
def test(ctx: click.Context, url: str, as_json: bool) -> None:
    """Send a signed event of type webhook.test to URL, once; exits 1 unless it is answered by a 2xx."""
    answer = run_async(_try(ctx.obj, url))
    if as_json:
        echo_json({"status": answer.status, "error": answer.error})
    else:
        click.echo(f"{answer.error or 'delivered'}{f' ({answer.status})' if answer.status else ''}")
    ctx.exit(0 if answer.error is None else 1)


async def _waiting(context: CliContext, limit: int) -> list[tuple[str, float]]:
    async with open_store(context) as store:
        return await WebhookOutbox(store).waiting(limit)


async def _read(context: CliContext, object_id: str, *, is_again: bool) -> dict[str, Any]:
    async with open_store(context) as store:
        outbox = WebhookOutbox(store)
        delivery = await _known(outbox, object_id)
        if is_again:
            await outbox.tell_again(delivery.ref)
            delivery = await _known(outbox, object_id)
        return delivery_view(object_id, delivery)


async def _known(outbox: WebhookOutbox, object_id: str) -> Delivery:
    ref = ref_of(object_id)
    delivery = None if ref is None else await outbox.read(ref)
    if delivery is None:
        raise click.UsageError(f"nothing is known of a webhook of {object_id!r}")
    return delivery


async def _try(context: CliContext, url: str) -> Answer:
    settings = context.settings.webhooks
    checked = check_webhook_url(url, settings)
    test_id = f"test_{os.urandom(6).hex()}"
    notice = Notice(checked, "webhook.test", time.time(), {"id": test_id}, None)
    async with Sender(settings) as sender:
        return await sender.send(checked, event_of(f"test:{test_id}", notice))
