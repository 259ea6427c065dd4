"""A call plan: all that is the same in every call of one model at one provider, worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.providers import Provider
from shared.settings import ProviderModelSettings
from shared.settings import Wire as WireName
from worker.dialect import Dialect, dialect_of
from worker.upstream.endpoint import Endpoint, endpoint_of
from worker.upstream.quirks import QUIRK_TABLE, Quirk
from worker.upstream.quirks.quirk import ChangeAnswer, ChangeBody, ChangeDelta, ChangeRequest
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
        request, body, answer, delta: The quirks' parts, in the order of the lists that name them.
        job_header: Header that is to hold the job's id.
    """

    wire: Wire
    dialect: Dialect
    endpoint: Endpoint
    stream: Stream | None
    request: tuple[ChangeRequest, ...]
    body: tuple[ChangeBody, ...]
    answer: tuple[ChangeAnswer, ...]
    delta: tuple[ChangeDelta, ...]
    job_header: str | None


class Plans:
    """The plans of one provider, made when a model is first called.

    Raises:
        ConfigError: When made: the key or a header of the provider cannot be sent.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._by_model: dict[str, Plan] = {}
        self._streamed: dict[str, Plan] = {}
        self._made("")  # a header that cannot be sent is the operator's affair now, not the first job's

    def of(self, model: str) -> Plan:
        """The plan for a model, by its name at the provider."""
        return self._by_model.get(model) or self._kept(self._by_model, model, streams=self._provider.stream)

    def streamed(self, model: str) -> Plan:
        """The plan for an answer that is passed on as it comes, whatever the provider's setting says."""
        return self._streamed.get(model) or self._kept(self._streamed, model, streams=True)

    def _kept(self, plans: dict[str, Plan], model: str, *, streams: bool) -> Plan:
        if len(plans) >= MAX_PLANS:
            del plans[next(iter(plans))]
        plan = plans[model] = self._made(model, streams=streams)
        return plan

    def _made(self, model: str, *, streams: bool = False) -> Plan:
        provider = self._provider
        entries, name = provider.entries_of(model), provider.wire_of(model)
        base = next((entry.base_url_path for entry in reversed(entries) if entry.base_url_path), "")
        wire = WIRES[name]
        stream = STREAMS[name] if streams else None
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
            delta=tuple(quirk.delta for quirk in quirks if quirk.delta),
            job_header=next((quirk.job_header for quirk in quirks if quirk.job_header), None),
        )


def _quirks(
    provider: Provider, entries: Sequence[ProviderModelSettings], wire: WireName
) -> tuple[Quirk, ...]:
    lists = (provider.quirks, *(entry.quirks for entry in entries))
    names = dict.fromkeys(name for names in lists for name in names)
    quirks = (QUIRK_TABLE[name] for name in names)
    return tuple(quirk for quirk in quirks if quirk.wires is None or wire in quirk.wires)
