"""`chatq route`, `providers` and `models`: what would be sent where, without sending."""

from __future__ import annotations

from typing import Any

import click

from producer.candidates import find_candidates
from producer.cli.context import CliContext
from producer.cli.output import echo_fields, echo_json, echo_table
from shared.errors import InvalidRequest, ProviderNotFound
from shared.job import Lane
from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import ModelSettings, ProviderSettings, Settings

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

fallbacks = click.option(
    "--fallback",
    "fallbacks",
    multiple=True,
    metavar="MODEL",
    help="Model to go on with when the ones before cannot answer; repeatable.",
)


@click.command()
@click.argument("model")
@click.option(
    "--lane",
    type=click.Choice([lane.value for lane in Lane]),
    default=Lane.DEFAULT.value,
    show_default=True,
    help="Lane whose queue is shown.",
)
@fallbacks
@as_json
@click.pass_obj
def route(context: CliContext, model: str, lane: str, fallbacks: tuple[str, ...], as_json: bool) -> None:
    """Explain where MODEL would be sent. With --fallback, also what the job would go on with."""
    found = context.router.resolve(model).as_dict(Lane(lane))
    candidates = find_candidates(model, fallbacks, context.router)
    found["candidates"] = [{"provider": one.provider, "model": one.model} for one in candidates]
    if as_json:
        echo_json(found)
        return
    fields = [(key, found[key] or "-") for key in found if key != "candidates"]
    if len(candidates) > 1:
        fields.append(("candidates", ", then ".join(f"{one.provider}: {one.model}" for one in candidates)))
    echo_fields(fields)


@click.command()
@as_json
@click.pass_obj
def providers(context: CliContext, as_json: bool) -> None:
    """List the providers: which are registered, and why the others are not."""
    rows = describe_providers(context.settings, context.registry)
    if as_json:
        echo_json(rows)
        return
    table = [
        (
            row["name"],
            row["wire"],
            row["base_url"] or "-",
            "yes" if row["registered"] else "no",
            row["reason"] or f"key: {row['key_origin']}",
        )
        for row in rows
    ]
    echo_table(("provider", "wire", "base_url", "registered", "key or reason"), table)


@click.command()
@as_json
@click.pass_obj
def models(context: CliContext, as_json: bool) -> None:
    """List the tiers: the model of each, and where it is sent."""
    rows = describe_tiers(context.settings.models, context.router)
    if as_json:
        echo_json(rows)
        return
    table = [
        (
            row["tier"],
            row["model"],
            "weak" if row["weak"] else "",
            sent_to(row),
        )
        for row in rows
    ]
    echo_table(("tier", "model", "", "sent to"), table)


def describe_providers(settings: Settings, registry: ProviderRegistry) -> list[dict[str, Any]]:
    """One row per configured provider, keys never shown."""
    return [_provider_row(name, spec, registry) for name, spec in settings.providers.items()]


def describe_tiers(models: ModelSettings, router: Router) -> list[dict[str, Any]]:
    """One row per tier; `error` says why a tier cannot be used (then `upstream_model` is None)."""
    return [_tier_row(tier, model, models.weak_models, router) for tier, model in models.tiers.items()]


def sent_to(row: dict[str, Any]) -> str:
    """Say in few words where a row of `describe_tiers` leads."""
    if row["upstream_model"]:
        return f"{row['provider']}: {row['upstream_model']}"
    return f"{row['provider']} is off, see `chatq providers`" if row["provider"] else str(row["error"])


def _provider_row(name: str, spec: ProviderSettings, registry: ProviderRegistry) -> dict[str, Any]:
    provider = registry.registered.get(name)
    return {
        "name": name,
        "wire": spec.wire,
        "base_url": spec.base_url,
        "registered": provider is not None,
        "key_origin": provider.key_origin if provider else None,
        "reason": registry.reasons.get(name),
    }


def _tier_row(tier: str, model: str, weak_models: tuple[str, ...], router: Router) -> dict[str, Any]:
    provider, upstream_model, error = None, None, None
    try:
        route = router.resolve(tier)
        provider, upstream_model = route.provider, route.upstream_model
    except ProviderNotFound as exc:
        provider, error = exc.provider, str(exc)
    except InvalidRequest as exc:
        error = str(exc)
    return {
        "tier": tier,
        "model": model,
        "weak": model in weak_models or upstream_model in weak_models,
        "provider": provider,
        "upstream_model": upstream_model,
        "error": error,
    }
