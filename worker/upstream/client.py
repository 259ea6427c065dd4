"""One client per upstream: a wire (what is said) over an HTTP client (how it is sent)."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import orjson

from shared.chat import ChatqRecord, ChatRequest, Usage
from shared.errors import RequestRefused, UpstreamError
from shared.providers import Provider
from worker.classify import classify
from worker.upstream.answers import read_answer
from worker.upstream.http import HttpClient
from worker.upstream.ollama import OLLAMA
from worker.upstream.ollama_generate import OLLAMA_GENERATE
from worker.upstream.openai import OPENAI
from worker.upstream.quirks import quirks_of
from worker.upstream.wire import Completion

JOB_LABEL = "X-Chatq-Job"
"""Name of the label that holds the job's id."""

_WIRES = {"openai": OPENAI, "ollama": OLLAMA, "ollama_generate": OLLAMA_GENERATE}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one successful call brought.

    Attributes:
        response: ChatCompletion object, with chatq's record under `chatq`.
        usage: Tokens and cost.
        finish_reason: OpenAI's word, or the upstream's own where OpenAI has none; None if it said none.
    """

    response: dict[str, Any]
    usage: Usage
    finish_reason: str | None


class Upstream(Protocol):
    """One callable endpoint."""

    provider: Provider

    async def call(
        self, request: ChatRequest, model: str, *, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        """Ask once; nothing is retried.

        Args:
            request: The job's request; its own `model` is not looked at.
            model: The model's name at this provider.
            headers: Labels of this call (`X-Source`, `X-Chatq-Job` …).
            timeout_s: Longest time for the whole call, in seconds.

        Raises:
            UpstreamError: One of its four branches; `maybe_billed` says whether the call may cost money.
        """
        ...

    async def close(self) -> None:
        """Close the connections; calls in flight fail."""
        ...


class ProviderUpstream:
    """An upstream that speaks its provider's wire."""

    def __init__(
        self, provider: Provider, *, max_answer_bytes: int, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.provider = provider
        self._wire = _WIRES[provider.wire]
        self._quirks = quirks_of(provider.base_url)
        self._http = HttpClient(
            provider, self._wire.path, max_answer_bytes=max_answer_bytes, transport=transport
        )

    async def call(
        self, request: ChatRequest, model: str, *, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        """See `Upstream.call`."""
        reply = await self._http.post(self._encode(request, model), self._labels(headers), timeout_s)
        if not 200 <= reply.status < 300:
            raise classify(reply.status, reply.headers, self._http.redact(reply.body), now_s=time.time())
        response, usage, finish_reason = self._completion(reply.body, model)
        record: ChatqRecord = {
            "provider": self.provider.name,
            "upstream_model": model,
            "finish_reason": finish_reason,
            "latency_s": reply.latency_s,
            "usage": usage,
        }
        response["chatq"] = record
        return Answer(response, usage, finish_reason)

    def _encode(self, request: ChatRequest, model: str) -> bytes:
        body = self._wire.request_body(request, model, self.provider.extra_body)
        for name in self._quirks.never_sent:
            body.pop(name, None)
        try:
            return orjson.dumps(body)
        except TypeError as exc:
            raise RequestRefused(
                f"the request cannot be written as JSON: {exc}", code="unsupported_content"
            ) from exc

    def _labels(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        name = self._quirks.job_header
        if name is None:
            return headers
        return {**headers, name: headers.get(JOB_LABEL) or uuid.uuid4().hex}

    def _completion(self, body: bytes, model: str) -> Completion:
        with contextlib.suppress(UpstreamError):
            return self._wire.completion(read_answer(body), model)
        # Once more for its error, whose text is then from a body without the key: taking the key out of
        # a text that was already cut could leave half of it.
        return self._wire.completion(read_answer(self._http.redact(body)), model)

    async def close(self) -> None:
        """See `Upstream.close`."""
        await self._http.close()


def open_upstream(
    provider: Provider, *, max_answer_bytes: int, transport: httpx.AsyncBaseTransport | None = None
) -> Upstream:
    """The client of a registered provider; it connects when it is first called.

    Args:
        provider: A registered provider.
        max_answer_bytes: A longer answer is refused.
        transport: Another way to send (tests); None: pooled connections.

    Raises:
        ConfigError: The key or a header cannot be sent.
    """
    return ProviderUpstream(provider, max_answer_bytes=max_answer_bytes, transport=transport)
