"""`chatq config check`: what is on, where each key came from, and what looks wrong."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import click

from producer.cli.context import CliContext
from producer.cli.output import echo_fields, echo_json, echo_table
from producer.cli.routing import as_json, describe_providers, describe_tiers, sent_to
from shared.errors import ConfigError, InvalidRequest, ProviderNotFound
from shared.providers import Provider, ProviderRegistry
from shared.routing import Router
from shared.settings import (
    LimitSettings,
    ProviderSettings,
    Settings,
    load_settings,
    shown_headers,
    shown_key,
    shown_url,
)

_UNITS = {"rpm": "rpm", "tpm": "tpm", "concurrency": "at a time"}
"""The numbers among the limits, and what follows each when it is shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing an operator should know. Only an `error` keeps chatq from being usable."""

    level: Literal["error", "warning", "info"]
    where: str
    """The key or variable it is about."""
    message: str


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command()
@as_json
@click.pass_obj
@click.pass_context
def check(ctx: click.Context, context: CliContext, as_json: bool) -> None:
    """Say what is on, where each key came from (never the key), and what looks wrong.

    Exits 0 when chatq can be used with these settings, else 3.
    """
    try:
        # Read here, not through the context: warnings are findings, not lines on standard error.
        settings = load_settings(context.config_path, env=context.env)
    except ConfigError as exc:
        if not as_json:
            raise
        echo_json({"ok": False, "file": None, "findings": [asdict(Finding("error", "settings", str(exc)))]})
        ctx.exit(exc.exit_code)
    registry = ProviderRegistry.from_settings(settings, env=context.env)
    report = examine(settings, registry)
    if as_json:
        echo_json(report)
    else:
        _print(report)
    ctx.exit(0 if report["ok"] else ConfigError.exit_code)


def examine(settings: Settings, registry: ProviderRegistry) -> dict[str, Any]:
    """Report on settings as JSON-ready data; no credential is in it."""
    findings = list(find_problems(settings, registry))
    return {
        "ok": all(finding.level != "error" for finding in findings),
        "file": str(settings.source) if settings.source else None,
        "redis": shown_url(settings.redis.url) if settings.redis.url else None,
        "default_provider": settings.routing.default_provider,
        "providers": [
            {
                **row,
                "headers": shown_headers(settings.providers[row["name"]].headers),
                **_account_of(registry.registered.get(row["name"])),
            }
            for row in describe_providers(settings, registry)
        ],
        "findings": [asdict(finding) for finding in findings],
    }


def find_problems(settings: Settings, registry: ProviderRegistry) -> Iterator[Finding]:
    """Yield everything that looks wrong, or that is good to know."""
    for warning in settings.warnings:
        yield Finding("warning", "file", warning)
    for warning in registry.warnings:
        yield Finding("warning", "providers", warning)
    yield from _find_unserved(settings, registry)
    for provider in registry.registered.values():
        yield from _look_at(provider)
        yield from _find_odd_limits(provider, settings.providers[provider.name])
    yield from _find_twins(registry)
    yield from _find_idle_groups(settings, registry)
    if not settings.redis.url:
        text = f"no address: the embedded Redis is used, in {settings.redis.data_dir}, for this machine only"
        yield Finding("info", "redis.url", text)


def _find_unserved(settings: Settings, registry: ProviderRegistry) -> Iterator[Finding]:
    """Yield what names a provider that is off."""
    if not registry.registered:
        yield Finding("error", "providers", "no provider is registered, so no job can be sent")
    default = settings.routing.default_provider
    if default in registry.reasons:
        text = f"{default!r} is off, so bare model names are refused; {registry.reasons[default]}"
        yield Finding("warning", "routing.default_provider", text)
    for name in settings.worker.providers:
        if name in registry.reasons:
            yield Finding("warning", "worker.providers", f"{name!r} is off; {registry.reasons[name]}")
    for row in describe_tiers(settings.models, Router.from_settings(settings, registry)):
        if row["error"]:
            yield Finding(
                "warning", f"models.{row['tier']}", f"{row['model']!r} cannot be sent: {sent_to(row)}"
            )


def _find_idle_groups(settings: Settings, registry: ProviderRegistry) -> Iterator[Finding]:
    """Yield what has no effect in groups of the file, and those that lead nowhere."""
    router = Router.from_settings(settings, registry)
    for group_id in settings.groups:
        where = shown_key(("groups", group_id))
        group = router.groups.get(group_id)
        for warning in group.warnings if group else ():
            yield Finding("warning", where, warning)
        try:
            router.resolve(group_id)
        except (InvalidRequest, ProviderNotFound) as exc:
            yield Finding("warning", where, str(exc))


def _look_at(provider: Provider) -> Iterator[Finding]:
    where = f"providers.{provider.name}"
    address = urlsplit(provider.base_url)
    sends_credential = provider.key is not None or shown_headers(provider.headers) != provider.headers
    if address.scheme == "http" and sends_credential and not _is_loopback(address.hostname or ""):
        text = "a key is sent unencrypted to another machine: use https://"
        yield Finding("warning", f"{where}.base_url", text)
    if provider.connect_timeout_s >= provider.timeout_s:
        text = f"is not below timeout_s ({provider.timeout_s:g} s), so it never applies"
        yield Finding("warning", f"{where}.connect_timeout_s", f"{provider.connect_timeout_s:g} s {text}")
    if provider.timeout_s < 5:
        text = f"{provider.timeout_s:g} s is short: few models answer in that time, and each try is billed"
        yield Finding("warning", f"{where}.timeout_s", text)


def _find_twins(registry: ProviderRegistry) -> Iterator[Finding]:
    for one, other in itertools.combinations(registry.registered.values(), 2):
        is_same = (one.base_url, one.key) == (other.base_url, other.key)
        if is_same and one.account != other.account:
            text = (
                f"same address and key as {one.name!r}: two names for one account, limits count apart; "
                f'set account = "{one.account}"'
            )
            yield Finding("warning", f"providers.{other.name}", text)


def _find_odd_limits(provider: Provider, spec: ProviderSettings) -> Iterator[Finding]:
    """Yield limits of this entry that cannot have the effect somebody meant."""
    path = ("providers", provider.name)
    if spec.limits.charge != LimitSettings().charge and provider.limits.tpm is None:
        yield _charge_without_tpm((*path, "limits"))
    for model, entry in spec.models.items():
        inner = (*path, "models", model, "limits")
        if entry.limits.charge != LimitSettings().charge and entry.limits.tpm is None:
            yield _charge_without_tpm(inner)
        for key in _UNITS:
            own, whole = getattr(entry.limits, key), getattr(provider.limits, key)
            if own is not None and whole is not None and own > whole:
                text = f"{own:,} is above the account's limit of {whole:,}, so it never applies"
                yield Finding("warning", shown_key((*inner, key)), text)


def _charge_without_tpm(table: tuple[str, ...]) -> Finding:
    text = "says how tokens are counted, but there is no tpm to count them against"
    return Finding("warning", shown_key((*table, "charge")), text)


def _account_of(provider: Provider | None) -> dict[str, Any]:
    """What a registered provider may use, as fields of its row; empty for one that is off."""
    if provider is None:
        return {"account": None, "limits": None, "models": {}}
    return {
        "account": provider.account,
        "limits": provider.limits.model_dump(),
        "models": {model: entry.limits.model_dump() for model, entry in provider.models.items()},
    }


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _limits_in_words(limits: Mapping[str, Any]) -> str:
    words = [f"{limits[key]:,} {unit}" for key, unit in _UNITS.items() if limits[key] is not None]
    return ", ".join(words) or "limits unknown: concurrency adapts"


def _table_rows(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield a provider's line, and one for each of its models that has limits of its own."""
    if not row["registered"]:
        yield row["name"], "off", "-", row["reason"]
        return
    account = "" if row["account"] == row["name"] else f"account {row['account']}: "
    yield row["name"], "on", account + _limits_in_words(row["limits"]), f"key: {row['key_origin']}"
    for model, limits in row["models"].items():
        yield f"{row['name']}/{model}", "", _limits_in_words(limits), ""


def _print(report: dict[str, Any]) -> None:
    echo_fields(
        [
            ("file", report["file"] or "none (defaults and environment)"),
            ("redis", report["redis"] or "embedded"),
            ("default provider", report["default_provider"]),
        ]
    )
    click.echo()
    rows = [cells for row in report["providers"] for cells in _table_rows(row)]
    echo_table(("provider", "", "limits", "key or reason"), rows)
    click.echo()
    for finding in report["findings"]:
        click.echo(f"{finding['level']}: {finding['where']}: {finding['message']}")
    click.echo("usable" if report["ok"] else "not usable: see the errors above")
