"""A replay: what a dead letter is from now on, built anew from its request, as a submit would build it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson

from producer.submission import check_webhook_url
from shared.chat import ChatRequest, parse_request
from shared.errors import InvalidRequest, JobRejected
from shared.job import Candidate, Lane
from shared.job_record import job_record
from shared.labels import check_label
from shared.live_facts import LiveFacts
from shared.routing import Router, features_of
from shared.store import rq_layout
from shared.store.dead import Letter, Replay
from shared.store.jobs import Cost
from shared.tokens import estimate_prompt_tokens
from shared.way import find_way, read_tags, way_entries, way_fields

MAX_CALL_BYTES = 64 * 1024 * 1024 + 1024
"""Longest stored call that is read: the largest request that settings allow (`jobs.max_body_bytes`), and RQ's frame
around it."""


class Replayer:
    """Finds the ways on which dead letters go on: those that their models lead to now.

    Nothing that was decided before stays: where a job went is what its group said then, and where it ended.

    Args:
        router: With the groups as they are now.
        facts: What groups go by.
    """

    def __init__(self, router: Router, facts: LiveFacts) -> None:
        self._router = router
        self._facts = facts

    def check_model(self, model: str) -> None:
        """See whether a model leads anywhere.

        Raises:
            ProviderNotFound, InvalidRequest: It does not.
        """
        self._router.resolve(model)

    async def prepare(self, letters: Sequence[Letter], *, model: str | None) -> list[Replay | JobRejected]:
        """How each goes on, or why it cannot.

        Args:
            model: Ask for this one instead of the one they were asked for with.

        Raises:
            StoreUnavailable: No answer from Redis.
        """
        return await self._facts.decide(lambda: [self._prepare(letter, model) for letter in letters])

    def _prepare(self, letter: Letter, model: str | None) -> Replay | JobRejected:
        try:
            return self._renew(letter, _request(letter, model))
        except JobRejected as exc:
            return exc

    def _renew(self, letter: Letter, request: ChatRequest) -> Replay:
        request_json, tags = orjson.dumps(request.body()), read_tags(letter.record)
        features = cache(lambda: features_of(request, request_json, tags))
        lane = _lane(letter.job.lane)
        way = find_way(request, features, self._router, self._facts.of(lane))
        prompt_tokens = estimate_prompt_tokens(request, request_json)
        entries, tokens = way_entries(way, features, prompt_tokens, request.output_limit_tokens or 0)
        record = _record(letter.record, request.model) | way_fields(way, tags=tags)
        provider, model = entries[0][:2]
        self._facts.sent(Candidate(provider, model), lane)
        return Replay(
            letter.job.id,
            f"{provider}.{lane}",
            orjson.dumps(record),
            Cost(*tokens, len(request_json), record["client"], model),
            entries,
        )


def _request(letter: Letter, model: str | None) -> ChatRequest:
    """The request as it is asked for from now on.

    Raises:
        InvalidRequest: What stands in Redis is none.
    """
    asked = model if model is not None else letter.record.get("model")
    try:
        fields = rq_layout.decode_call(letter.call, max_bytes=MAX_CALL_BYTES)
        return parse_request({**fields, "model": asked} if isinstance(asked, str) else fields)
    except (ValueError, TypeError, InvalidRequest) as exc:
        raise InvalidRequest(f"dead letter {letter.job.id} holds no chat request: {exc}") from None


def _record(before: dict[str, Any], model: str) -> dict[str, Any]:
    """The record of before without what was decided; a label that no caller may give is left out.

    It is no stream any more: who followed it saw its end, and the pieces of two calls would be mixed.
    """
    source, batch = _label(before.get("source")), _label(before.get("batch"))
    client = _label(before.get("client")) or "default"
    webhook = _webhook_url(before.get("webhook"))
    record = job_record(model, (), client=client, source=source, batch=batch, webhook_url=webhook)
    metadata = before.get("metadata")
    return record | {"metadata": metadata} if isinstance(metadata, dict) else record


def _label(value: Any) -> str | None:
    try:
        return check_label(value, field="label")
    except InvalidRequest:
        return None


def _webhook_url(value: Any) -> str | None:
    try:
        return check_webhook_url(value)
    except InvalidRequest:
        return None


def _lane(word: str) -> Lane:
    return Lane(word) if word in tuple(Lane) else Lane.DEFAULT
