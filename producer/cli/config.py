"""`chatq config check`: what is on, where each key came from, and what looks wrong."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import click

from producer.cli.context import CliContext
from producer.cli.output import echo_fields, echo_json, echo_table
from producer.cli.routing import as_json, describe_providers, describe_tiers, sent_to
from shared.errors import ConfigError
from shared.providers import Provider, ProviderRegistry
from shared.routing import Router
from shared.settings import Settings, load_settings, shown_headers, shown_url


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
            {**row, "headers": shown_headers(settings.providers[row["name"]].headers)}
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
    yield from _find_twins(registry)
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
        if (one.base_url, one.key) == (other.base_url, other.key):
            text = f"same address and key as {one.name!r}: two names for one account, limits count apart"
            yield Finding("warning", f"providers.{other.name}", text)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _print(report: dict[str, Any]) -> None:
    echo_fields(
        [
            ("file", report["file"] or "none (defaults and environment)"),
            ("redis", report["redis"] or "embedded"),
            ("default provider", report["default_provider"]),
        ]
    )
    click.echo()
    rows = [
        (row["name"], "on" if row["registered"] else "off", row["reason"] or f"key: {row['key_origin']}")
        for row in report["providers"]
    ]
    echo_table(("provider", "", "key or reason"), rows)
    click.echo()
    for finding in report["findings"]:
        click.echo(f"{finding['level']}: {finding['where']}: {finding['message']}")
    click.echo("usable" if report["ok"] else "not usable: see the errors above")
