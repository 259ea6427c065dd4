"""`chat(request)`: the same job for a stock `rq worker`.

A stock worker runs one call at a time and knows nothing of chatq's retries, lanes and leases; this keeps such a
worker useful on our queues, it is not the way to run them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from functools import partial
from typing import Any

from shared.catalogue import Catalogue
from shared.chat import ChatRequest, encode_request, parse_request
from shared.errors import StoreError
from shared.group_follower import GroupFollower
from shared.job import Candidate
from shared.providers import ProviderRegistry
from shared.routing import NO_FACTS, Router, features_of
from shared.settings import Settings, load_settings
from shared.store.connect import Store
from shared.store.groups import GroupStore
from shared.way import find_way
from worker.costing import Costing, record
from worker.output_limit import limited
from worker.upstream import open_upstream

log = logging.getLogger(__name__)


def chat(request: dict[str, Any]) -> dict[str, Any]:
    """Route a chat request and call its provider once.

    Args:
        request: A chat request in OpenAI's shape.

    Returns:
        The ChatCompletion object with chatq's record under `chatq`.

    Raises:
        InvalidRequest: A field is wrong.
        ProviderNotFound: The model's provider is not registered here.
        UpstreamError: The call failed.
    """
    return asyncio.run(_chat(request))


async def _chat(raw: dict[str, Any]) -> dict[str, Any]:
    settings = load_settings(env=os.environ)
    registry = ProviderRegistry.from_settings(settings, env=os.environ)
    request = parse_request(raw)
    router = Router.from_settings(settings, registry)
    await _follow_groups(router, settings)
    candidate = _candidate(request, router, settings)
    catalogue = Catalogue.from_settings(settings)
    sent, _ = limited(request, catalogue.find(candidate.provider, candidate.model))
    provider = registry.get(candidate.provider)
    upstream = open_upstream(provider, max_answer_bytes=settings.jobs.max_answer_bytes)
    at = time.time()
    try:
        answer = await upstream.call(sent, candidate.model, headers={}, timeout_s=provider.timeout_s)
    finally:
        await upstream.close()
    record(answer.response, Costing(catalogue).answered(request, candidate, answer, at=at))
    return answer.response


async def _follow_groups(router: Router, settings: Settings) -> None:
    """Take over the groups made at run time, from chatq's Redis; the worker that runs this may be on another."""
    if not settings.redis.url:
        log.info("groups made at run time are left out: CHATQ_REDIS_URL names no Redis")
        return
    try:
        store = await Store.open(settings.redis.url, settings.redis)
        try:
            await GroupFollower(GroupStore(store), router).catch_up()
        finally:
            await store.close()
    except StoreError as exc:
        log.warning("groups made at run time are left out: %s", exc)


def _candidate(request: ChatRequest, router: Router, settings: Settings) -> Candidate:
    """The first that a job of chatq's would be sent to; nothing is rated here."""
    request_json = encode_request(request, max_bytes=settings.jobs.max_body_bytes)
    way = find_way(request, partial(features_of, request, request_json), router, NO_FACTS)
    return way.candidates[len(way.selection.candidates) if way.selection else 0]
