"""From a model name to the upstreams it may be sent to. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import InvalidRequest, ProviderNotFound
from shared.job import Candidate, Lane
from shared.providers import ProviderRegistry
from shared.settings import ModelSettings, Settings

CLOUD_SUFFIX = ":cloud"
"""Ollama's own mark for a model that runs on Ollama Cloud (docs/provider-wire.md §1, Quirks)."""

CLOUD_PROVIDER = "ollama_cloud"

CACHE_SIZE = 4096
"""Routes kept. Names come from callers, so there must be an end; in practice a few dozen are in use."""

MAX_NAME_CHARS = 256
"""Longest model name, as in the chat schema; it bounds what the routes above can hold."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a model name leads."""

    requested: str
    """The name as it was asked for."""
    tier: str | None
    """The tier it was, or None."""
    candidates: tuple[Candidate, ...]
    """Upstreams in order of preference, at least one."""
    reason: str
    """Which rules applied, for people."""

    @property
    def provider(self) -> str:
        """The first candidate's provider."""
        return self.candidates[0].provider

    @property
    def upstream_model(self) -> str:
        """The model's name at the first candidate."""
        return self.candidates[0].model

    def queue(self, lane: Lane) -> str:
        """The queue a job on this route waits in."""
        return f"{self.provider}.{lane}"

    def as_dict(self, lane: Lane) -> dict[str, Any]:
        """The route as `chatq route --json` prints it."""
        return {
            "requested": self.requested,
            "tier": self.tier,
            "provider": self.provider,
            "upstream_model": self.upstream_model,
            "queue": self.queue(lane),
            "candidates": [{"provider": one.provider, "model": one.model} for one in self.candidates],
            "reason": self.reason,
        }


class Router:
    """Resolves model names against the registered providers.

    Order: `provider/model` of a configured provider → tier → `:cloud` suffix → bare name.
    """

    def __init__(self, registry: ProviderRegistry, models: ModelSettings, default_provider: str) -> None:
        self._registry = registry
        self._tiers: Mapping[str, str] = models.tiers
        self._default_provider = default_provider
        self._routes: dict[str, Route] = {}

    @classmethod
    def from_settings(cls, settings: Settings, registry: ProviderRegistry) -> Router:
        """Build the router of these settings."""
        return cls(registry, settings.models, settings.routing.default_provider)

    def resolve(self, model: str) -> Route:
        """Find the upstream for a model name.

        Raises:
            InvalidRequest: The name is empty, too long, or nothing but a prefix.
            ProviderNotFound: It leads to a provider that is not registered; there is no falling through.
        """
        route = self._routes.get(model)
        if route is None:
            route = self._resolve(model)
            if len(self._routes) >= CACHE_SIZE:
                self._routes.clear()
            self._routes[model] = route
        return route

    def _resolve(self, requested: str) -> Route:
        if len(requested) > MAX_NAME_CHARS:
            raise InvalidRequest(f"model name is over {MAX_NAME_CHARS} characters", field="model")
        name, tier, steps = self._expand_tiers(requested)
        candidate, step = self._choose(name)
        if not candidate.model.strip():
            raise InvalidRequest(
                f"model {requested!r} names no model: write <provider>/<model>, a tier or a model name",
                field="model",
            )
        try:
            self._registry.get(candidate.provider)
        except ProviderNotFound as exc:
            way = "; ".join([*steps, step])
            raise ProviderNotFound(f"model {requested!r} ({way}): {exc}", provider=exc.provider) from None
        return Route(requested, tier, (candidate,), "; ".join([*steps, step]))

    def _expand_tiers(self, requested: str) -> tuple[str, str | None, list[str]]:
        """Follow tiers to a model; a tier may stand for another tier, `ModelSettings` refuses circles."""
        name, steps = requested, []
        while self._explicit(name) is None and self._tiers.get(name, name) != name:
            steps.append(f"tier {name!r} is {self._tiers[name]!r}")
            name = self._tiers[name]
        is_tier = self._explicit(requested) is None and requested in self._tiers
        return name, requested if is_tier else None, steps

    def _choose(self, name: str) -> tuple[Candidate, str]:
        explicit = self._explicit(name)
        if explicit is not None:
            return explicit, f"prefix {explicit.provider!r} names a provider"
        if name.endswith(CLOUD_SUFFIX):
            stripped = name.removesuffix(CLOUD_SUFFIX)
            return Candidate(CLOUD_PROVIDER, stripped), f"suffix {CLOUD_SUFFIX!r} means {CLOUD_PROVIDER!r}"
        prefix, slash, _ = name.partition("/")
        unknown = f"{prefix!r} is no provider: " if slash else ""
        bare = f"{unknown}bare name, default provider {self._default_provider!r}"
        return Candidate(self._default_provider, name), bare

    def _explicit(self, name: str) -> Candidate | None:
        """Split off the first prefix if it is a configured provider; the rest is that provider's business."""
        prefix, slash, model = name.partition("/")
        return Candidate(prefix, model) if slash and self._registry.is_known(prefix) else None
