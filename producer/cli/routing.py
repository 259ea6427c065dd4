"""`chatq route`, `providers` and `models`: what would be sent where, without sending."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import click

from producer.cli.context import CliContext
from producer.cli.output import echo_fields, echo_json, echo_table
from producer.cli.request import requested
from producer.cli.session import open_producer, run_async, warn
from shared.chat import ChatRequest, encode_request, parse_request
from shared.errors import InvalidRequest, ProviderNotFound, StoreUnavailable
from shared.job import Lane
from shared.providers import ProviderRegistry
from shared.routing import NO_FACTS, Router, features_of
from shared.settings import ModelSettings, ProviderSettings, Settings
from shared.store.embedded import has_been_used
from shared.way import Way, find_way

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

fallbacks = click.option(
    "--fallback",
    "fallbacks",
    multiple=True,
    metavar="MODEL",
    help="Model to go on with when the ones before cannot answer; repeatable.",
)


tags = click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    help="What the rules of groups may ask for, beside what they find in the request; repeatable.",
)


@click.command()
@click.argument("model")
@click.option("--prompt", metavar="TEXT", help="A user message, for groups; - is stdin.")
@click.option(
    "--request",
    "request_file",
    type=click.File("rb"),
    metavar="FILE",
    help="A JSON request body; - is stdin.",
)
@click.option(
    "--lane",
    type=click.Choice([lane.value for lane in Lane]),
    default=Lane.DEFAULT.value,
    show_default=True,
    help="Lane whose queue is shown.",
)
@fallbacks
@tags
@as_json
@click.pass_obj
def route(
    context: CliContext,
    /,
    model: str,
    lane: str,
    fallbacks: tuple[str, ...],
    tags: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Explain where MODEL would be sent. With --fallback, also what the job would go on with.

    Groups go by the request: give --prompt or --request. They also go by what the fleet knows just now, and those
    made at run time are there, where a Redis is named or this machine's own one has been used.
    """
    asked = Asked(
        model,
        {**requested(options), **({"fallbacks": list(fallbacks)} if fallbacks else {})},
        tags,
        Lane(lane),
    )
    way = _find(context, asked)
    found = describe_way(context.router, model, way, asked.lane)
    if as_json:
        echo_json(found)
        return
    shown = {key: value for key, value in found.items() if key not in _IN_WORDS}
    fields = [(key, str(value or "-")) for key, value in shown.items()]
    if way.fallback_chain:
        fields.append(("decisions", " → ".join(found["chain"])))
    if "unrated_chain" in found:
        fields.append(("unrated", " → ".join(found["unrated_chain"])))
    if len(way.candidates) > 1:
        fields.append(
            ("candidates", ", then ".join(f"{one.provider}: {one.model}" for one in way.candidates))
        )
    echo_fields(fields)


_IN_WORDS = ("candidates", "chain", "unrated_chain")
"""What people are shown in other words."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What `chatq route` is asked about."""

    model: str
    body: dict[str, Any]
    """Of the request, without the model."""
    tags: tuple[str, ...]
    lane: Lane

    def request(self, router: Router) -> ChatRequest:
        """The request.

        Raises:
            InvalidRequest, ProviderNotFound: The model leads nowhere, or a field is wrong.
        """
        router.resolve(self.model)  # a name that cannot be one is told as such
        return parse_request({**self.body, "model": self.model})


def describe_way(router: Router, model: str, way: Way, lane: Lane) -> dict[str, Any]:
    """Where a request goes, as `chatq route --json` prints it; chains only where groups were asked."""
    first = way.candidates[0]
    is_group = router.group_of(model) is not None
    plain = None if is_group else router.resolve(model)
    found: dict[str, Any] = {
        "requested": model,
        "tier": plain.tier if plain else None,
        "provider": first.provider,
        "upstream_model": first.model,
        "queue": f"{first.provider}.{lane}",
        "candidates": [{"provider": one.provider, "model": one.model} for one in way.candidates],
        "reason": plain.reason if plain else " → ".join(way.chain),
    }
    chain = [*way.chain, *way.fallback_chain]
    if chain:
        found["chain"] = chain
    if way.selection is not None:
        found["unrated_chain"] = [*way.unrated_chain, *way.fallback_chain]
    return found


def _find(context: CliContext, asked: Asked) -> Way:
    redis = context.settings.redis
    if redis.url or has_been_used(redis.data_dir):
        try:
            return run_async(_find_live(context, asked))
        except StoreUnavailable as exc:
            warn(f"{exc}; groups made at run time are left out")
    request = asked.request(context.router)
    request_json = encode_request(request, max_bytes=context.settings.jobs.max_body_bytes)
    features = cache(lambda: features_of(request, request_json, asked.tags))
    return find_way(request, features, context.router, NO_FACTS)


async def _find_live(context: CliContext, asked: Asked) -> Way:
    async with open_producer(context, is_warning=False) as producer:
        context.router.follow(producer.router.groups)
        return await producer.route(asked.request(context.router), lane=asked.lane, tags=asked.tags)


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
