"""`chatq limits`: what the fleet may send; look, change at run time, open by hand."""

from __future__ import annotations

from typing import Any

import click

from producer.cli.context import CliContext
from producer.cli.holds import describe
from producer.cli.output import echo_json, echo_table
from producer.cli.routing import as_json
from producer.cli.session import open_producer, run_async
from producer.cli.times import moment
from shared.store.limits import Field, ScopeView

HEADINGS = ("scope", "rpm", "tpm", "at a time", "in flight", "used", "set by hand", "state")

DEFAULT = "default"


class Number(click.ParamType[float]):
    """A limit: a number, `none` for no limit, `default` for what the settings say."""

    name = "limit"

    def __init__(
        self, lowest: float, highest: float, *, is_whole: bool = True, has_none: bool = True
    ) -> None:
        self._lowest, self._highest = lowest, highest
        self._is_whole, self._has_none = is_whole, has_none

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # a number or `DEFAULT`
        """The number, 0 for none, or `DEFAULT`."""
        if value == DEFAULT:
            return value
        if value == "none" and self._has_none:
            return 0
        try:
            number = (int if self._is_whole else float)(value)
        except ValueError:
            number = -1
        if not self._lowest <= number <= self._highest:
            words = f"{DEFAULT!r}" if not self._has_none else f"'none' or {DEFAULT!r}"
            self.fail(
                f"{value!r}: write a number from {self._lowest:,} to {self._highest:,}, {words}", param, ctx
            )
        return number


@click.group()
def limits() -> None:
    """Look at limits, change them at run time, open what is closed.

    SCOPE is an account (openrouter), one of its models (openrouter/MODEL), client:ID, or provider:NAME.
    """


@limits.command()
@click.argument("scopes", nargs=-1, metavar="[SCOPE]...")
@as_json
@click.pass_obj
def show(context: CliContext, scopes: tuple[str, ...], as_json: bool) -> None:
    """Show limits, what was learned, what is used, and what is closed."""
    views = run_async(_show(context, scopes))
    if as_json:
        echo_json(views)
    else:  # a provider's server has no limits: unless it is closed, there is nothing to tell
        _print([view for view in views if scopes or view.is_closed or not view.name.startswith("provider:")])


@limits.command("set")
@click.argument("scope")
@click.option("--rpm", type=Number(1, 10_000_000), metavar="N", help="Requests per minute.")
@click.option("--tpm", type=Number(1, 10**12), metavar="N", help="Tokens per minute.")
@click.option("--concurrency", type=Number(1, 1_000_000), metavar="N", help="Calls at the same time.")
@click.option(
    "--slice",
    "slice_s",
    type=Number(0.05, 60, is_whole=False, has_none=False),
    metavar="S",
    help="Burst: the allowance of so many seconds may be used at once.",
)
@click.option(
    "--weight", type=Number(1, 1000, has_none=False), metavar="W", help="A client's share among clients."
)
@as_json
@click.pass_obj
def change(context: CliContext, /, scope: str, slice_s: Any, as_json: bool, **options: Any) -> None:
    """Change limits of the whole fleet, from the next claim on; N is a number, none, or default (the settings).

    What was learned of the scope's limits is forgotten. A closure stays; see `open`.
    """
    changes = {
        Field(name): None if value == DEFAULT else value
        for name, value in options.items()
        if value is not None
    }
    if slice_s is not None:
        changes[Field.SLICE_MS] = None if slice_s == DEFAULT else round(slice_s * 1000)
    if not changes:
        raise click.UsageError("give at least one of --rpm, --tpm, --concurrency, --slice, --weight")
    view = run_async(_set(context, scope, changes))
    if as_json:
        echo_json(view)
    else:
        _print([view])


@limits.command("open")
@click.argument("scope")
@as_json
@click.pass_obj
def reopen(context: CliContext, scope: str, as_json: bool) -> None:
    """End a cooldown or breaker by hand, after what was wrong is mended; an account with its models."""
    opened = run_async(_open(context, scope))
    if as_json:
        echo_json({"opened": opened})
    else:
        click.echo("\n".join(f"opened {name}" for name in opened) or "nothing was closed")


async def _show(context: CliContext, scopes: tuple[str, ...]) -> list[ScopeView]:
    async with open_producer(context, is_warning=False) as producer:
        return await producer.limits.show(scopes)


async def _set(context: CliContext, scope: str, changes: dict[Field, float | None]) -> ScopeView:
    async with open_producer(context, is_warning=False) as producer:
        return await producer.limits.set(scope, changes)


async def _open(context: CliContext, scope: str) -> list[str]:
    async with open_producer(context, is_warning=False) as producer:
        return await producer.limits.open(scope)


def _print(views: list[ScopeView]) -> None:
    echo_table(HEADINGS, [_row(view) for view in views])


def _row(view: ScopeView) -> tuple[str, ...]:
    used = max(view.used.values(), default=None)
    return (
        view.name,
        _limit(view, "rpm", "stated_rpm"),
        _limit(view, "tpm", "stated_tpm"),
        _limit(view, "concurrency", "stated_concurrency", "adaptive"),
        f"{view.in_flight:,}",
        "-" if used is None else f"{used:.0%}",
        ", ".join(f"{name} {value or 'none'}" for name, value in view.set.items()) or "-",
        _state(view),
    )


def _limit(view: ScopeView, name: str, *learned: str) -> str:
    """The limit in force; a ~ in front of one that was learned."""
    value = view.in_force.get(name)
    if value is None:
        return "-"
    known = view.set.get(name) or view.file.get(name)
    is_learned = any(word in view.learned for word in learned) and value != known
    is_cut = name != "concurrency" and "factor" in view.learned
    return f"{'~' if is_learned or is_cut else ''}{value:,.0f}"


def _state(view: ScopeView) -> str:
    if view.hold is not None:
        return describe(view.hold).removeprefix(f"{view.hold.scope}: ")
    if view.breaker is not None:
        return f"being tried after {view.opened_why or 'failures'} ({view.breaker})"
    return f"closed until {moment(view.closed_until)}" if view.closed_until else "ok"
