"""`chatq tokens`: who may call the HTTP API; make, list, revoke."""

from __future__ import annotations

import time
from typing import Any

import click
import orjson
from pydantic import ValidationError

from producer.cli.context import CliContext
from producer.cli.duration import Duration
from producer.cli.output import echo_json, echo_table
from producer.cli.routing import as_json
from producer.cli.session import open_producer, run_async, warn
from producer.cli.store import open_store
from producer.cli.times import moment
from shared.access_token import AccessToken, Role, digest_of, id_of, new_token
from shared.errors import InvalidRequest
from shared.job import Lane
from shared.store.limits import Field
from shared.store.tokens import TokenStore

HEADINGS = ("id", "client", "role", "lanes", "models", "budget", "made", "expires", "note")


@click.group()
def tokens() -> None:
    """Make, list and revoke tokens for the HTTP API.

    As long as there is one, every call needs one, or the static token of [auth].
    """


@tokens.command()
@click.option(
    "--client", required=True, metavar="ID", help="Whose jobs, files and batches it makes and sees."
)
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.SUBMIT.value,
    show_default=True,
    help="read: see; submit: make, change, delete; admin: also what belongs to others.",
)
@click.option(
    "--lane",
    "lanes",
    multiple=True,
    type=click.Choice([lane.value for lane in Lane]),
    help="Lane it may use; all.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="PATTERN",
    help="Models it may ask for, as requests write them, with * and ?; all.",
)
@click.option(
    "--rpm", type=click.IntRange(1, 10_000_000), metavar="N", help="Requests per minute of the client."
)
@click.option("--tpm", type=click.IntRange(1, 10**12), metavar="N", help="Tokens per minute of the client.")
@click.option(
    "--concurrency", type=click.IntRange(1, 1_000_000), metavar="N", help="Calls at a time of the client."
)
@click.option(
    "--budget",
    "budget_usd",
    type=click.FloatRange(0, 1e9),
    metavar="USD",
    help="What the client may have spent in a day (UTC) when it submits.",
)
@click.option(
    "--expires-in", "expires_in_s", type=Duration(), metavar="TIME", help="How long it holds: 12h, 30d."
)
@click.option("--note", default="", metavar="TEXT", help="What it is for.")
@as_json
@click.pass_obj
def create(
    context: CliContext,
    /,
    expires_in_s: float | None,
    rpm: int | None,
    tpm: int | None,
    concurrency: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a token and print it: this once, it is kept nowhere.

    Limits are the client's, whatever token it calls with; `chatq limits set client:ID` changes them.
    """
    token = new_token()
    now = time.time()
    expires_at = None if expires_in_s is None else now + expires_in_s
    record = _record(token, created_at=now, expires_at=expires_at, **options)
    given = {Field.RPM: rpm, Field.TPM: tpm, Field.CONCURRENCY: concurrency}
    limits: dict[Field, float | None] = {field: value for field, value in given.items() if value is not None}
    run_async(_create(context, record, limits))
    if as_json:
        echo_json({"token": token, **_shown(record)})
    else:
        click.echo(token)
        click.echo(f"token {record.id} of client {record.client}: it is not shown again", err=True)


@tokens.command("list")
@as_json
@click.pass_obj
def show_all(context: CliContext, as_json: bool) -> None:
    """List all tokens, by the public part of each."""
    found = run_async(_all(context))
    if as_json:
        echo_json([_shown(token) for token in found])
    else:
        echo_table(HEADINGS, [_row(token) for token in found])


@tokens.command()
@click.argument("token_ids", nargs=-1, required=True, metavar="ID...")
@click.pass_obj
def revoke(context: CliContext, token_ids: tuple[str, ...]) -> None:
    """Revoke tokens: within 2 s nobody gets in with them. ID is as listed, or the whole token."""
    is_last = run_async(_revoke(context, token_ids))
    if is_last and not context.settings.auth.token.get_secret_value():
        warn("no token is left: at a loopback address, who is on this machine needs none")


def _record(token: str, **fields: Any) -> AccessToken:
    """What is kept.

    Raises:
        InvalidRequest: A field is wrong.
    """
    values = {name: value for name, value in fields.items() if value not in ((), None)}
    try:
        return AccessToken(id=id_of(token), digest=digest_of(token), **values)
    except ValidationError as exc:
        error = exc.errors(include_input=False)[0]
        name = ".".join(str(part) for part in error["loc"])
        raise InvalidRequest(f"{name}: {error['msg']}", field=name) from None


async def _create(context: CliContext, record: AccessToken, limits: dict[Field, float | None]) -> None:
    async with open_producer(context) as producer:
        # The limits first: a crash in between leaves no token without them.
        if limits:
            await producer.limits.set(f"client:{record.client}", limits)
        await TokenStore(producer.store).add(record)


async def _all(context: CliContext) -> list[AccessToken]:
    async with open_store(context) as store:
        return await TokenStore(store).all()


async def _revoke(context: CliContext, token_ids: tuple[str, ...]) -> bool:
    """Revoke them; says whether none is left."""
    async with open_store(context) as store:
        known = TokenStore(store)
        for token_id in token_ids:
            await known.revoke(id_of(token_id))
            click.echo(f"revoked {id_of(token_id)}")
        return not await known.exist()


def _shown(token: AccessToken) -> dict[str, Any]:
    """For programs; without the digest, which is nobody's business."""
    shown: dict[str, Any] = orjson.loads(token.model_dump_json(exclude={"digest"}))
    return {**shown, "is_expired": token.is_expired()}


def _row(token: AccessToken) -> tuple[str, ...]:
    expires = "-" if token.expires_at is None else moment(token.expires_at)
    return (
        token.id,
        token.client,
        token.role.value,
        ", ".join(token.lanes or ()) or "all",
        ", ".join(token.models or ()) or "all",
        "-" if token.budget_usd is None else f"{token.budget_usd:g} USD",
        moment(token.created_at),
        f"{expires} (over)" if token.is_expired() else expires,
        token.note or "-",
    )
