"""`chat(request)`: the same job for a stock `rq worker`.

A stock worker runs one call at a time and knows nothing of chatq's retries, lanes and leases; this keeps such a
worker useful on our queues, it is not the way to run them.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from shared.chat import parse_request
from shared.providers import ProviderRegistry
from shared.routing import Router
from shared.settings import load_settings
from worker.upstream import open_upstream


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
    candidate = Router.from_settings(settings, registry).resolve(request.model).candidates[0]
    provider = registry.get(candidate.provider)
    upstream = open_upstream(provider, max_answer_bytes=settings.jobs.max_answer_bytes)
    try:
        answer = await upstream.call(request, candidate.model, headers={}, timeout_s=provider.timeout_s)
    finally:
        await upstream.close()
    return answer.response
