"""One client per upstream: a wire (what is said) over an HTTP client (how it is sent)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
import orjson

from shared.chat import ChatqRecord, ChatRequest
from shared.errors import CandidateUnfit, FieldRefused, RequestRefused, UpstreamError
from shared.native_responses import native_request
from shared.observed_limits import ObservedLimits
from shared.providers import Provider
from shared.usage import Usage
from worker.classify import classify
from worker.dialect import Dialect
from worker.rate_headers import observed_limits
from worker.upstream.answers import read_answer, stated_in
from worker.upstream.deltas import OnDelta
from worker.upstream.history import modernised
from worker.upstream.http import HttpClient, Reply
from worker.upstream.plan import Plan, Plans
from worker.upstream.refused_fields import RefusedFields
from worker.upstream.responses import refuse_native
from worker.upstream.streams import Stream, StreamedAnswer
from worker.upstream.wire import Completion

JOB_LABEL = "X-Chatq-Job"
"""Name of the label that holds the job's id."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one successful call brought.

    Attributes:
        response: ChatCompletion object, with chatq's record under `chatq`.
        usage: Tokens and cost.
        finish_reason: OpenAI's word, or the upstream's own where OpenAI has none; None if it said none.
        ttfb_s: From sending to the answer's head, in seconds.
        observed: Limits per minute that the answer's headers state, or None.
    """

    response: dict[str, Any]
    usage: Usage
    finish_reason: str | None
    ttfb_s: float
    observed: ObservedLimits | None


class Upstream(Protocol):
    """One callable endpoint."""

    provider: Provider

    async def call(
        self,
        request: ChatRequest,
        model: str,
        *,
        headers: Mapping[str, str],
        timeout_s: float,
        on_delta: OnDelta | None = None,
    ) -> Answer:
        """Ask once; nothing is retried.

        Args:
            request: The job's request; its own `model` is not looked at.
            model: The model's name at this provider.
            headers: Labels of this call (`X-Source`, `X-Chatq-Job` …).
            timeout_s: Longest time for the whole call, in seconds.
            on_delta: Told of the answer's pieces as they come; the answer is asked for as a stream then.

        Raises:
            UpstreamError: One of its branches; `maybe_billed` says whether the call may cost money.
            OutOfSockets: Nothing was sent, for want of something of ours.
        """
        ...

    async def close(self) -> None:
        """Close the connections; calls in flight fail."""
        ...


class ProviderUpstream:
    """An upstream that speaks its provider's wires, with the quirks of each model."""

    def __init__(
        self, provider: Provider, *, max_answer_bytes: int, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self.provider = provider
        self._refused_fields = RefusedFields()
        self._http = HttpClient(provider, max_answer_bytes=max_answer_bytes, transport=transport)
        self._plans = Plans(provider)

    async def call(
        self,
        request: ChatRequest,
        model: str,
        *,
        headers: Mapping[str, str],
        timeout_s: float,
        on_delta: OnDelta | None = None,
    ) -> Answer:
        """See `Upstream.call`."""
        plan = self._plans.of(model) if on_delta is None else self._plans.streamed(model)
        body = self._body(plan, request, model)
        streamed = None
        if plan.stream is not None:
            tell = None if on_delta is None else _teller(plan, plan.stream, request, on_delta)
            streamed = StreamedAnswer(plan.stream.assembler(), tell)
        try:
            reply = await self._http.post(
                plan.endpoint,
                _encoded(body),
                headers if plan.job_header is None else _with_job(headers, plan.job_header),
                timeout_s,
                streamed,
            )
        except UpstreamError as error:
            if streamed is not None:  # it may have broken off after the provider had counted
                error.usage = plan.wire.usage(streamed.counted())
            raise
        if not 200 <= reply.status < 300:
            raise self._failure(reply, body, model, plan.dialect)
        completion = self._completion(reply, model, plan, streamed)
        for change in plan.answer:
            completion = change(completion, request)
        response, usage, finish_reason = completion
        record: ChatqRecord = {
            "provider": self.provider.name,
            "upstream_model": model,
            "finish_reason": finish_reason,
            "latency_s": reply.latency_s,
            "usage": usage,
        }
        if native_request(request) is not None:
            record["response"] = stated_in(reply.body)
        response["chatq"] = record
        observed = observed_limits(reply.headers) if _has_rate_headers(reply.headers) else None
        return Answer(response, usage, finish_reason, reply.ttfb_s, observed)

    def _body(self, plan: Plan, request: ChatRequest, model: str) -> dict[str, Any]:
        refuse_native(request, plan.wire)
        request = modernised(request)
        for change_request in plan.request:
            request = change_request(request)
        body = plan.wire.request_body(request, model, self.provider.extra_body)
        for change_body in plan.body:
            change_body(body, request)
        if plan.stream is not None:
            body.update(plan.stream.fields)
        self._refused_fields.leave_out(model, body)
        return body

    def _failure(self, reply: Reply, body: dict[str, Any], model: str, dialect: Dialect) -> UpstreamError:
        error = classify(
            reply.status,
            reply.headers,
            self._http.redact(reply.body),
            now_s=time.time(),
            dialect=dialect,
        )
        if isinstance(error, FieldRefused) and not self._refused_fields.learn(model, body, error.fields):
            # None of them was sent, so the same request would be refused again.
            return CandidateUnfit(str(error), status=error.status)
        return error

    def _completion(
        self, reply: Reply, model: str, plan: Plan, streamed: StreamedAnswer | None
    ) -> Completion:
        try:
            return plan.wire.completion(read_answer(reply.body, plan.dialect), model)
        except UpstreamError:
            # Once more for its error, whose text is then from a body without the key: taking the key out of
            # a text that was already cut could leave half of it.
            body = self._http.redact(reply.body)
        try:
            return plan.wire.completion(read_answer(body, plan.dialect), model)
        except UpstreamError as error:
            error.maybe_billed |= reply.is_streamed  # tokens may have come before the error did
            error.usage = plan.wire.usage({**(streamed.counted() if streamed else {}), **stated_in(body)})
            raise

    async def close(self) -> None:
        """See `Upstream.close`."""
        await self._http.close()


def _teller(
    plan: Plan, stream: Stream, request: ChatRequest, on_delta: OnDelta
) -> Callable[[dict[str, Any]], None]:
    """What makes deltas of a stream's events."""
    deltas = stream.deltas()

    def tell(event: dict[str, Any]) -> None:
        if choices := deltas.read(event):
            for change in plan.delta:
                change(choices, request)
            on_delta(choices)

    return tell


def _with_job(headers: Mapping[str, str], name: str) -> Mapping[str, str]:
    return {**headers, name: headers.get(JOB_LABEL) or uuid.uuid4().hex}


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as exc:
        raise RequestRefused(
            f"the request cannot be written as JSON: {exc}", code="unsupported_content"
        ) from exc


def _has_rate_headers(headers: httpx.Headers) -> bool:
    """Whether reading them as rate headers is worth it: for most answers it is not, and it costs more than this."""
    return b"ratelimit" in b" ".join([name for name, _ in headers.raw]).lower()


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
