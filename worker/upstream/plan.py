"""A call plan: all that is the same in every call of one model at one provider, worked out once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from shared.providers import Provider
from shared.settings import ProviderModelSettings
from shared.settings import Wire as WireName
from worker.dialect import Dialect, dialect_of
from worker.upstream.endpoint import Endpoint, endpoint_of
from worker.upstream.quirks import QUIRK_TABLE, Quirk
from worker.upstream.quirks.quirk import ChangeAnswer, ChangeBody, ChangeRequest
from worker.upstream.streams import STREAMS, Stream
from worker.upstream.wire import Wire, path_for
from worker.upstream.wires import WIRES

MAX_PLANS = 1000
"""Plans kept of one provider; model names come from jobs, so there may be any number."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one model is called.

    Attributes:
        wire: The API it answers on.
        dialect: Whose errors come back.
        endpoint: Where the call goes.
        stream: How to ask for a stream; None: the answer comes in one piece.
        request, body, answer: The quirks' parts, in the order of the lists that name them.
        job_header: Header that is to hold the job's id.
    """

    wire: Wire
    dialect: Dialect
    endpoint: Endpoint
    stream: Stream | None
    request: tuple[ChangeRequest, ...]
    body: tuple[ChangeBody, ...]
    answer: tuple[ChangeAnswer, ...]
    job_header: str | None


class Plans:
    """The plans of one provider, made when a model is first called.

    Raises:
        ConfigError: When made: the key or a header of the provider cannot be sent.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._by_model: dict[str, Plan] = {}
        self._made("")  # a header that cannot be sent is the operator's affair now, not the first job's

    def of(self, model: str) -> Plan:
        """The plan for a model, by its name at the provider."""
        plan = self._by_model.get(model)
        if plan is None:
            if len(self._by_model) >= MAX_PLANS:
                del self._by_model[next(iter(self._by_model))]
            plan = self._by_model[model] = self._made(model)
        return plan

    def _made(self, model: str) -> Plan:
        provider = self._provider
        entries = tuple(_fitting(provider, model))
        name: WireName = next((entry.wire for entry in reversed(entries) if entry.wire), provider.wire)
        base = next((entry.base_url_path for entry in reversed(entries) if entry.base_url_path), "")
        wire = WIRES[name]
        stream = STREAMS[name] if provider.stream else None
        path = (stream.path if stream else None) or wire.path
        quirks = _quirks(provider, entries, name)
        return Plan(
            wire=wire,
            dialect=dialect_of(name, provider.base_url),
            endpoint=endpoint_of(
                provider,
                base + path_for(path, model),
                key_header=provider.key_header or wire.key_header,
                headers=wire.headers,
            ),
            stream=stream,
            request=tuple(quirk.request for quirk in quirks if quirk.request),
            body=tuple(quirk.body for quirk in quirks if quirk.body),
            answer=tuple(quirk.answer for quirk in quirks if quirk.answer),
            job_header=next((quirk.job_header for quirk in quirks if quirk.job_header), None),
        )


def _fitting(provider: Provider, model: str) -> Iterator[ProviderModelSettings]:
    """What the entry says of a model: from the shortest pattern that fits to the longest, its own name last."""
    lowered = model.lower()
    for pattern in sorted(provider.patterns, key=lambda pattern: (pattern == model, len(pattern))):
        # `[` has no meaning in these patterns: names of models have it.
        if pattern == model or fnmatchcase(lowered, pattern.lower().replace("[", "[[]")):
            yield provider.patterns[pattern]


def _quirks(
    provider: Provider, entries: tuple[ProviderModelSettings, ...], wire: WireName
) -> tuple[Quirk, ...]:
    lists = (provider.quirks, *(entry.quirks for entry in entries))
    names = dict.fromkeys(name for names in lists for name in names)
    quirks = (QUIRK_TABLE[name] for name in names)
    return tuple(quirk for quirk in quirks if quirk.wires is None or wire in quirk.wires)
