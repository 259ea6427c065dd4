"""From a model name, and for groups a request, to the upstreams a job may be sent to. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from pydantic import ValidationError

from shared.chat import ChatRequest
from shared.errors import InvalidRequest, ProviderNotFound
from shared.job import Candidate, Lane
from shared.providers import ProviderRegistry
from shared.routing.facts import NO_FACTS, Facts
from shared.routing.features import NO_FEATURES, Features
from shared.routing.groups import Group, GroupBook
from shared.routing.names import infer_provider
from shared.routing.rules import Rules
from shared.routing.walk import Selection, Walk
from shared.settings import GroupSettings, ModelSettings, Settings

CLOUD_SUFFIX = ":cloud"
"""Ollama's own mark for a model that runs on Ollama Cloud (docs/provider-wire.md §1, Quirks)."""

CLOUD_PROVIDER = "ollama_cloud"

CACHE_SIZE = 4096
"""Routes kept. Names come from callers, so there must be an end; in practice a few dozen are in use."""

MAX_NAME_CHARS = 256
"""Longest model name, as in the chat schema; it bounds what the routes above can hold."""

SHOWN_REASONS = 5
"""Providers named where nothing of a group is registered."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a model name leads."""

    requested: str
    """The name as it was asked for."""
    tier: str | None
    """The tier it was, or None."""
    candidates: tuple[Candidate, ...]
    """Upstreams in order of preference, at least one. While a selector has to rate first, the selector's."""
    reason: str
    """Which rules applied, for people."""
    chain: tuple[str, ...] = ()
    """The decisions of groups, outermost first, and the candidate they end at; empty when no group was asked."""
    selection: Selection | None = None
    """The rating that is needed before the job can go on (`Router.select`); None = the candidates are its own."""

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
        """The route as `chatq route --json` prints it; `chain` only where groups were asked."""
        shown = {
            "requested": self.requested,
            "tier": self.tier,
            "provider": self.provider,
            "upstream_model": self.upstream_model,
            "queue": self.queue(lane),
            "candidates": [{"provider": one.provider, "model": one.model} for one in self.candidates],
            "reason": self.reason,
        }
        return {**shown, "chain": list(self.chain)} if self.chain else shown


class Router:
    """Resolves model names against the registered providers.

    Order: `provider/model` of a configured provider → tier → group → `:cloud` suffix → bare name.
    """

    def __init__(
        self,
        registry: ProviderRegistry,
        models: ModelSettings,
        default_provider: str,
        *,
        bare: Literal["default", "infer"] = "default",
        groups: GroupBook | None = None,
        random: Random | None = None,
    ) -> None:
        """Take what decides.

        Args:
            registry: Which providers there are, and which can be called.
            models: The tiers.
            default_provider: Gets bare names.
            bare: With `infer`, the provider that a bare name speaks of gets it instead.
            groups: All groups; none by default.
            random: Source of the draws of weighted groups; the same numbers give the same routes.
        """
        self._registry = registry
        self._tiers: Mapping[str, str] = models.tiers
        self._default_provider = default_provider
        self._infers = bare == "infer"
        self._random = random or Random()
        self._groups = groups or GroupBook()
        self._routes: dict[str, Route] = {}
        self._ends: dict[str, Group | Candidate | None] = {}

    @classmethod
    def from_settings(cls, settings: Settings, registry: ProviderRegistry) -> Router:
        """Build the router of these settings, with the groups of the file and the seeds."""
        routing = settings.routing
        book = GroupBook.from_settings(settings)
        return cls(registry, settings.models, routing.default_provider, bare=routing.bare, groups=book)

    @property
    def groups(self) -> GroupBook:
        """The groups that names lead to."""
        return self._groups

    def follow(self, groups: GroupBook) -> None:
        """Use these groups from now on."""
        self._groups = groups
        self._routes.clear()
        self._ends.clear()

    def group_of(self, model: str) -> Group | None:
        """The group that a name leads to, by itself or as a tier; None = no group is asked for it."""
        end = self._end(model)
        return end if isinstance(end, Group) else None

    def resolve(self, model: str) -> Route:
        """Find the upstream for a model name.

        A group's name is resolved as for an empty prompt, without a rating: use `route` for a request.

        Raises:
            InvalidRequest: The name is empty, too long, or nothing but a prefix; or its group cannot be used.
            ProviderNotFound: It leads to a provider that is not registered, or a group to none that is; there is
                no falling through.
        """
        route = self._routes.get(model)
        if route is not None:
            return route
        group = self.group_of(model)
        if group is not None:
            return self._by_group(
                model, group, Walk(self._end, lambda: NO_FEATURES, None, NO_FACTS, self._random)
            )
        route = self._resolve(model)
        if len(self._routes) >= CACHE_SIZE:
            self._routes.clear()
        self._routes[model] = route
        return route

    def route(
        self, model: str, request: ChatRequest, features: Callable[[], Features], facts: Facts = NO_FACTS
    ) -> Route:
        """Find the upstreams for a request; like `resolve` for a name that is no group's.

        Args:
            model: The name; the request's own or one of its fallbacks.
            request: The request.
            features: Its features; called once, and only when a group asks.
            facts: What is known of candidates.

        Returns:
            The route. Its `selection` is set when a group wants a rating first: then its candidates are the
            selector's, and `select` goes on when it has answered.

        Raises:
            InvalidRequest, ProviderNotFound: As `resolve`.
        """
        group = self.group_of(model)
        if group is None:
            return self.resolve(model)
        walk = Walk(self._end, features, request, facts, self._random)
        return self._by_group(model, group, walk)

    def select(
        self,
        selection: Selection,
        rating: int | None,
        request: ChatRequest,
        features: Callable[[], Features],
        facts: Facts = NO_FACTS,
    ) -> Route:
        """Go on after a rating: from the group that wanted it to the target that it means.

        The chosen target's candidates come first, then those of the nearest stronger target up to the
        strongest, then the weaker ones; with `fallback = false` the chosen one's alone. The group's targets are
        those of when the rating was wanted, whatever has become of the group.

        Args:
            selection: What was wanted.
            rating: 1 to the selection's scale, clamped; None = the selector failed, so the group's rules decide.
            request: The request.
            features: Its features; called once, and only when a group asks.
            facts: What is known of candidates.

        Returns:
            The route; with a `selection` again when the chosen target is a group that wants a rating as well.

        Raises:
            InvalidRequest: A target that was a group is none here, or it or the group itself cannot be used.
            ProviderNotFound: Nothing of it is registered.
        """
        walk = Walk(self._end, features, request, facts, self._random, rating=(selection.group_id, rating))
        group = self._groups.get(selection.group_id) if rating is None else self._as_it_was(selection)
        if group is None:
            raise InvalidRequest(f"group {selection.group_id!r} does not exist any more", field="model")
        return self._by_group(request.model, group, walk, selection.chain, selection.rest)

    def _as_it_was(self, selection: Selection) -> Group:
        """The group that wanted a rating, as it was then."""
        for name in selection.groups:
            if self.group_of(name) is None:
                text = f"group {name!r}, a target of {selection.group_id!r}, does not exist here"
                raise InvalidRequest(text, field="model")
        try:
            definition = GroupSettings(
                strategy="classifier",
                targets=selection.targets,
                selector="-",  # it has answered
                complexity_threshold=selection.scale,
                fallback=selection.has_fallbacks,
            )
        except ValidationError:
            raise InvalidRequest(f"{selection.group_id!r} is no group", field="model") from None
        return Group(selection.group_id, definition, "run time", Rules.compile(definition), None)

    def _by_group(
        self,
        model: str,
        group: Group,
        walk: Walk,
        chain: tuple[str, ...] = (),
        rest: tuple[Candidate, ...] = (),
    ) -> Route:
        if group.fault is not None:
            raise InvalidRequest(f"group {group.id!r} {group.fault}", field="model")
        lead = walk.into(group, chain, rest)
        if not lead.candidates:
            raise self._nothing_registered(group)
        reason = " → ".join(lead.chain)
        tier = self._tier_of(model)
        if lead.selection is not None:
            return Route(model, tier, lead.selection.candidates, reason, lead.chain, lead.selection)
        return Route(model, tier, lead.candidates, reason, lead.chain)

    def _nothing_registered(self, group: Group) -> ProviderNotFound:
        """Say for each provider that a group leads to why it is off."""
        reasons: dict[str, str] = {}
        names, seen = [*group.settings.targets], {group.id}
        while names:
            name = names.pop(0)
            inner = self.group_of(name)
            if inner is None:
                reasons |= self._why_not(name)
            elif inner.id not in seen:
                seen.add(inner.id)
                names += inner.settings.targets
        text = "; ".join([*reasons.values()][:SHOWN_REASONS])
        more = f" (and {len(reasons) - SHOWN_REASONS} more)" if len(reasons) > SHOWN_REASONS else ""
        return ProviderNotFound(
            f"group {group.id!r} leads to no registered provider: {text}{more}", provider=next(iter(reasons))
        )

    def _why_not(self, model: str) -> dict[str, str]:
        """The provider that a name leads to, and why it cannot be called."""
        try:
            self.resolve(model)
        except ProviderNotFound as exc:
            reason = self._registry.reasons.get(exc.provider, f"add [providers.{exc.provider}]")
            return {exc.provider: f"{exc.provider!r} is not registered, {reason}"}
        except InvalidRequest as exc:
            return {model: str(exc)}
        return {}

    def _end(self, name: str) -> Group | Candidate | None:
        """What a name leads to: a group, a candidate that can be called, or nothing."""
        if name not in self._ends:
            if len(self._ends) >= CACHE_SIZE:
                self._ends.clear()
            self._ends[name] = self._find_end(name)
        return self._ends[name]

    def _find_end(self, name: str) -> Group | Candidate | None:
        if len(name) > MAX_NAME_CHARS:
            return None
        followed, _, _ = self._expand_tiers(name)
        group = None if self._explicit(followed) else self._groups.get(followed)
        if group is not None:
            return group
        try:
            return self._resolve(name).candidates[0]
        except (InvalidRequest, ProviderNotFound):
            return None

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

    def _tier_of(self, requested: str) -> str | None:
        return requested if self._explicit(requested) is None and requested in self._tiers else None

    def _expand_tiers(self, requested: str) -> tuple[str, str | None, list[str]]:
        """Follow tiers to a model; a tier may stand for another tier, `ModelSettings` refuses circles."""
        name, steps = requested, []
        while self._explicit(name) is None and self._tiers.get(name, name) != name:
            steps.append(f"tier {name!r} is {self._tiers[name]!r}")
            name = self._tiers[name]
        return name, self._tier_of(requested), steps

    def _choose(self, name: str) -> tuple[Candidate, str]:
        explicit = self._explicit(name)
        if explicit is not None:
            return explicit, f"prefix {explicit.provider!r} names a provider"
        if name.endswith(CLOUD_SUFFIX):
            stripped = name.removesuffix(CLOUD_SUFFIX)
            return Candidate(CLOUD_PROVIDER, stripped), f"suffix {CLOUD_SUFFIX!r} means {CLOUD_PROVIDER!r}"
        prefix, slash, _ = name.partition("/")
        unknown = f"{prefix!r} is no provider: " if slash else ""
        inferred = infer_provider(name) if self._infers else None
        if inferred is not None:
            return Candidate(inferred, name), f"{unknown}bare name, it speaks of {inferred!r}"
        bare = f"{unknown}bare name, default provider {self._default_provider!r}"
        return Candidate(self._default_provider, name), bare

    def _explicit(self, name: str) -> Candidate | None:
        """Split off the first prefix if it is a configured provider; the rest is that provider's business."""
        prefix, slash, model = name.partition("/")
        return Candidate(prefix, model) if slash and self._registry.is_known(prefix) else None
