"""`chatq run --dry-run`: what a run would ask, take and cost, without asking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from decimal import Decimal
from typing import Any

import click

from producer.batch.estimate import Estimator
from producer.batch.forecast import Ceiling, Forecast, Load, Pace, Share, note_recorded, slowest, together
from producer.batch.ledger import Ledger
from producer.batch.lines import open_input, read_lines
from producer.batch.output import OutputFiles, Paths
from producer.batch.reader import BadLine, Line, Reader, RunLines
from producer.batch.tally import RowKey
from producer.cli.answer import for_terminal
from producer.cli.context import CliContext
from producer.cli.funds import make_estimator
from producer.cli.money import dollars
from producer.cli.output import echo_table
from producer.cli.run_options import Options, max_line_bytes
from producer.cli.store import open_store
from producer.cli.times import span
from producer.submission import Submission
from shared.errors import JobRejected
from shared.money import json_usd
from shared.settings import ClientLimitSettings
from shared.store.connect import Store
from shared.store.limits import LimitStore, ScopeView
from shared.store.scopes import account_scope, client_scope, model_scope, shown_scope


async def dry_run(context: CliContext, options: Options) -> dict[str, Any]:
    """Read the whole input, validate and route each line as the run would; submit nothing.

    Returns:
        The forecast as plain data, for `--json` and `print_forecast`.

    Raises:
        BatchRefused: The input cannot be read, or does not belong to the output.
        StoreError: No answer from Redis, where limits and usual sizes are.
    """
    async with open_store(context) as store:
        estimator = await make_estimator(context, store)
        with closing(Ledger()) as ledger, open_input(options.source) as file:
            forecast = Forecast(_recorded_before(options, ledger))
            lines = read_lines(file, max_bytes=max_line_bytes(context.settings))
            reader = Reader(lines, ledger, RunLines(options.model, options.fallbacks, options.tags))
            await _read(reader, forecast, estimator, options)
        loads = _loads(context, forecast, options.client)
        pace = slowest(loads, await _ceilings(context, store, loads))
    return _as_dict(options, reader.count, forecast, pace)


def _recorded_before(options: Options, ledger: Ledger) -> int:
    if options.output is None or options.is_restart:
        return 0
    paths = Paths(options.output)
    paths.check(options.source)
    return note_recorded(ledger, OutputFiles(paths, is_mending=False), is_retry=options.is_retry)


async def _read(
    lines: Iterable[Line | BadLine], forecast: Forecast, estimator: Estimator, options: Options
) -> None:
    for line in lines:
        if isinstance(line, BadLine):
            forecast.add_bad(line)
            continue
        found = await estimator.estimate(
            Submission(line.body, lane=options.lane, client=options.client, tags=line.tags)
        )
        if isinstance(found, JobRejected):
            forecast.add_bad(BadLine(line.number, line.custom_id, found.code, str(found)))
        else:
            forecast.add(line.body["model"], found)


# -- limits ---------------------------------------------------------------------------------------


def _loads(context: CliContext, forecast: Forecast, client: str) -> dict[str, Load]:
    """What each scope would be asked for: accounts, models, and the client."""
    parts: dict[str, list[Load]] = {}
    for candidate, load in forecast.loads.items():
        account = context.registry.registered[candidate.provider].account
        for scope in (account_scope(account), model_scope(account, candidate.model), client_scope(client)):
            parts.setdefault(scope, []).append(load)
    return {scope: together(of_scope) for scope, of_scope in parts.items()}


async def _ceilings(context: CliContext, store: Store, loads: Mapping[str, Load]) -> dict[str, Ceiling]:
    stated = _stated(context)
    views = await LimitStore(store).read(list(loads))
    return {
        scope: _ceiling(stated.get(scope, ClientLimitSettings()), view)
        for scope, view in zip(loads, views, strict=True)
    }


def _stated(context: CliContext) -> dict[str, ClientLimitSettings]:
    """What our own settings say, by scope."""
    stated = {client_scope(name): one.limits for name, one in context.settings.clients.items()}
    for provider in context.registry.registered.values():
        stated[account_scope(provider.account)] = provider.limits
        for model, spec in provider.models.items():
            stated[model_scope(provider.account, model)] = spec.limits
    return stated


def _ceiling(stated: ClientLimitSettings, view: ScopeView) -> Ceiling:
    """The limits in force; those of our settings where no worker has published any."""

    def limit(name: str) -> float | None:
        if name in view.in_force:
            return view.in_force[name]
        return None if name in view.set else getattr(stated, name)

    concurrency = limit("concurrency")
    known = (view.file.get("concurrency"), view.set.get("concurrency"), stated.concurrency)
    if not any(known) and "stated_concurrency" not in view.learned:
        concurrency = None  # nobody limits it: it adapts, and grows as long as the provider bears it
    return Ceiling(limit("rpm"), limit("tpm"), concurrency)


# -- showing --------------------------------------------------------------------------------------


def _as_dict(options: Options, lines: int, forecast: Forecast, pace: Pace | None) -> dict[str, Any]:
    total = forecast.total()
    return {
        "input": str(options.source),
        "lines": lines,
        "to_ask": total.lines,
        "recorded_before": forecast.recorded_before,
        "invalid": forecast.errors.total(),
        "errors": dict(forecast.errors.most_common()),
        "invalid_lines": [
            {"line": bad.number, "custom_id": bad.custom_id, "code": bad.code, "message": bad.message}
            for bad in forecast.examples
        ],
        **_share(total),
        "models": [_row(key, share) for key, share in sorted(forecast.rows.items())],
        "time_s": None if pace is None else [round(seconds, 1) for seconds in pace.seconds],
        "time_decided_by": None if pace is None else f"{shown_scope(pace.scope)}: {pace.limit}",
    }


def _row(key: RowKey, share: Share) -> dict[str, Any]:
    return {**key._asdict(), "lines": share.lines, **_share(share)}


def _share(share: Share) -> dict[str, Any]:
    is_known = share.lines > share.cost_unknown
    return {
        "input_tokens": share.input_tokens,
        "output_tokens": list(share.output_tokens),
        "cost_usd": [json_usd(usd) for usd in share.cost_usd] if is_known else None,
        "cost_unknown": share.cost_unknown,
    }


def print_forecast(found: Mapping[str, Any]) -> None:
    """Print a forecast for people."""
    if found["models"]:
        rows = [_cells(row) for row in found["models"]]
        if len(rows) > 1:
            rows.append(("total", "", f"{found['to_ask']:,}", *_amounts(found)))
        echo_table(("model", "sent to", "lines", "tokens in", "tokens out", "cost"), rows)
        click.echo()
    before = f", {found['recorded_before']:,} are recorded" if found["recorded_before"] else ""
    click.echo(f"{found['lines']:,} lines: {found['to_ask']:,} to ask{before}, {found['invalid']:,} invalid")
    for bad in found["invalid_lines"]:
        custom_id, message = for_terminal(bad["custom_id"]), for_terminal(bad["message"])
        click.echo(f"  line {bad['line']:,} ({custom_id}): {bad['code']}: {message}")
    if more := found["invalid"] - len(found["invalid_lines"]):
        click.echo(f"  and {more:,} more")
    click.echo(f"cost, each line asked once: {_cost(found)}")
    click.echo(f"time: {_time(found)}")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    sent_to = f"{row['provider']}: {row['upstream_model']}" if row["provider"] else "-"
    return (for_terminal(row["model"]), for_terminal(sent_to), f"{row['lines']:,}", *_amounts(row))


def _amounts(row: Mapping[str, Any]) -> tuple[str, str, str]:
    low, high = row["output_tokens"]
    return f"{row['input_tokens']:,}", _range(f"{low:,}", f"{high:,}"), _cost(row)


def _cost(row: Mapping[str, Any]) -> str:
    unknown = f"unknown for {row['cost_unknown']:,} lines" if row["cost_unknown"] else ""
    if row["cost_usd"] is None:
        return unknown or "-"
    low, high = (dollars(Decimal(str(usd))) for usd in row["cost_usd"])
    return _range(low, high) + (f" ({unknown})" if unknown else "")


def _time(found: Mapping[str, Any]) -> str:
    if found["time_s"] is None:
        return "unknown: there are no limits that would tell"
    low, high = (span(seconds) for seconds in found["time_s"])
    return f"at least {_range(low, high)}, by the limits of {found['time_decided_by']}"


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} – {high}"
