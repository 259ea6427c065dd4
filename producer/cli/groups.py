"""`chatq groups`: names that stand for a choice among models; look, make, explain."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click
import orjson
import tomli

from producer.cli.context import CliContext
from producer.cli.output import echo_fields, echo_json, echo_table
from producer.cli.request import request_options, requested
from producer.cli.routing import as_json, describe_way, tags
from producer.cli.session import open_producer, run_async
from shared.chat import ChatRequest, encode_request, parse_request
from shared.errors import InvalidRequest
from shared.job import Lane
from shared.routing import Features, Group, features_of
from shared.settings import Strategy

HEADINGS = ("group", "strategy", "level", "targets", "from", "state")


@click.group()
def groups() -> None:
    """Look at model groups, make and delete those of the run time, explain their choices.

    A group's name stands where a model's does. Groups of the settings file are changed there.
    """


@groups.command("list")
@as_json
@click.pass_obj
def show_all(context: CliContext, as_json: bool) -> None:
    """List all groups."""
    found = run_async(_list(context))
    if as_json:
        echo_json([_described(group) for group in found])
    else:
        echo_table(HEADINGS, [_row(group) for group in found])


@groups.command()
@click.argument("group_id", metavar="GROUP")
@as_json
@click.pass_obj
def show(context: CliContext, group_id: str, as_json: bool) -> None:
    """Show one group; with --json as `set` takes it."""
    group = run_async(_get(context, group_id))
    if as_json:
        echo_json(_described(group))
        return
    settings = group.settings.model_dump(mode="json", exclude_defaults=True, exclude={"rules"})
    fields = [("group", group.id), ("from", group.origin), ("state", _state(group))]
    fields += [(name, _in_words(value)) for name, value in {"strategy": "heuristic", **settings}.items()]
    rules = group.settings.model_dump(mode="json", exclude_defaults=True).get("rules", [])
    fields += [(f"rule {number}", orjson.dumps(rule).decode()) for number, rule in enumerate(rules, start=1)]
    echo_fields(fields + [("note", warning) for warning in group.warnings])


@groups.command("set")
@click.argument("group_id", metavar="GROUP")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option(
    "--file",
    "source",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Definition as JSON or TOML, like a [groups.<id>] table; - is JSON from stdin.",
)
@click.option("--strategy", type=click.Choice(get_args(Strategy)), help="How it chooses.")
@click.option("--selector", metavar="MODEL", help="Who rates (classifier).")
@click.option(
    "--threshold", "complexity_threshold", type=int, metavar="N", help="Highest rating (classifier)."
)
@click.option("--weights", metavar="W,W", help="Shares of the targets (weighted).")
@click.option(
    "--level", "logic_level", type=click.IntRange(1, 10), metavar="1-10", help="How demanding its tasks are."
)
@click.option("--use", "primary_use", metavar="TEXT", help="What it is for.")
@click.option(
    "--fallback/--no-fallback", default=None, help="Whether jobs may go on with what was not chosen."
)
@as_json
@click.pass_obj
def change(
    context: CliContext,
    /,
    group_id: str,
    targets: tuple[str, ...],
    source: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Create a group or replace one made at run time; all producers and workers follow within 2 s.

    TARGETs are models or groups, the cheapest first. Rules come from a --file; options are set over it.
    """
    definition = {name: value for name, value in options.items() if value is not None}
    if options["weights"] is not None:
        definition["weights"] = _weights(options["weights"])
    if targets:
        definition["targets"] = list(targets)
    definition = {**(_read(source) if source else {}), **definition}
    group = run_async(_set(context, group_id, definition))
    if as_json:
        echo_json(_described(group))
    else:
        echo_table(HEADINGS, [_row(group)])


@groups.command()
@click.argument("group_id", metavar="GROUP")
@click.pass_obj
def delete(context: CliContext, group_id: str) -> None:
    """Delete a group made at run time; a built-in one of its name is back."""
    run_async(_delete(context, group_id))
    click.echo(f"deleted {group_id}")


@groups.command()
@click.argument("group_id", metavar="GROUP")
@request_options
@tags
@as_json
@click.pass_obj
def explain(
    context: CliContext, /, group_id: str, tags: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Say what a group sees in a request, and what it would choose now."""
    request = parse_request({**requested(options), "model": group_id})
    found = run_async(_explain(context, request, tags))
    request_json = encode_request(request, max_bytes=context.settings.jobs.max_body_bytes)
    seen = _seen(features_of(request, request_json, tags))
    if as_json:
        echo_json({"features": seen, **found})
        return
    fields = [(name, _in_words(value)) for name, value in seen.items()]
    fields += [("decision", " → ".join(found["chain"]))]
    if "unrated_chain" in found:
        fields.append(("unrated", " → ".join(found["unrated_chain"])))
    echo_fields(
        [
            *fields,
            ("candidates", ", then ".join(f"{c['provider']}/{c['model']}" for c in found["candidates"])),
        ]
    )


async def _list(context: CliContext) -> list[Group]:
    async with open_producer(context, is_warning=False) as producer:
        return await producer.groups.list()


async def _get(context: CliContext, group_id: str) -> Group:
    async with open_producer(context, is_warning=False) as producer:
        return await producer.groups.get(group_id)


async def _set(context: CliContext, group_id: str, definition: dict[str, Any]) -> Group:
    async with open_producer(context, is_warning=False) as producer:
        return await producer.groups.set(group_id, definition)


async def _delete(context: CliContext, group_id: str) -> None:
    async with open_producer(context, is_warning=False) as producer:
        await producer.groups.delete(group_id)


async def _explain(context: CliContext, request: ChatRequest, tags: tuple[str, ...]) -> dict[str, Any]:
    async with open_producer(context, is_warning=False) as producer:
        await producer.groups.get(request.model)
        way = await producer.route(request, tags=tags)
        return describe_way(producer.router, request.model, way, Lane.DEFAULT)


def _read(source: Path) -> dict[str, Any]:
    with click.open_file(str(source), "rb") as file:
        raw: bytes = file.read()
    try:
        found = tomli.loads(raw.decode()) if source.suffix == ".toml" else orjson.loads(raw)
    except (orjson.JSONDecodeError, tomli.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(f"{source} is neither JSON nor TOML: {exc}") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{source} must hold one group, a table of its fields")
    return {name: value for name, value in found.items() if name not in _NOT_SET}


_NOT_SET = ("id", "from", "fault", "warnings")
"""What `show --json` says beside the definition."""


def _weights(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise InvalidRequest(
            f"--weights: {text!r} is no list of numbers, like 3,1", field="weights"
        ) from None


def _described(group: Group) -> dict[str, Any]:
    definition = group.settings.model_dump(mode="json", exclude_defaults=True)
    return {
        "id": group.id,
        "from": group.origin,
        "strategy": group.settings.strategy,
        **definition,
        "fault": group.fault,
        "warnings": list(group.warnings),
    }


def _row(group: Group) -> tuple[str, ...]:
    settings = group.settings
    return (
        group.id,
        settings.strategy,
        str(settings.logic_level),
        ", ".join(settings.targets),
        group.origin,
        _state(group),
    )


def _state(group: Group) -> str:
    return f"cannot be used: {group.fault}" if group.fault else "ok"


def _seen(features: Features) -> dict[str, Any]:
    """What a group goes by, without the text itself."""
    return {
        "input_tokens": features.input_tokens,
        "tags": sorted(features.tags),
        "multimodal": features.is_multimodal,
        "tools": features.has_tools,
        "reasoning": features.needs_reasoning,
        "complex": features.is_complex,
    }


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
