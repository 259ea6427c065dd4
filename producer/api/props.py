"""Properties of a running model, as llama-swap tells them: of the first candidate that has some."""

from __future__ import annotations

import logging
from urllib.parse import quote

import httpx
from starlette.responses import Response

from producer.api.call import Call
from producer.api.errors import ApiError
from producer.api.operation import JSON, Operation, Param, Reply
from producer.api.principal import Role
from shared.errors import JobRejected
from shared.job import Candidate
from shared.providers import Provider

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
"""llama-swap may have to load the model first; whoever asks is told soon all the same."""

MAX_BYTES = 1024 * 1024


async def get_props(call: Call) -> Response:
    """The answer of the first candidate that gives one."""
    name = call.path("model")
    call.principal.check_model(name)
    try:
        candidates = call.services.producer.router.resolve(name).candidates
    except JobRejected as exc:
        raise ApiError(404, str(exc), code="model_not_found", param="model") from None
    for candidate in candidates:
        provider = call.services.registry.registered.get(candidate.provider)
        if provider is not None and provider.wire == "openai" and (body := await _ask(provider, candidate)):
            return Response(body, media_type=JSON)
    text = f"no backend of {name!r} tells its properties"
    raise ApiError(503, text, kind="server_error", code="no_backend")


async def _ask(provider: Provider, candidate: Candidate) -> bytes | None:
    """What a backend says; None if it is no llama-swap, or not there."""
    address = provider.base_url.removesuffix("/v1")
    headers = dict(provider.headers)
    if provider.key is not None:
        headers["Authorization"] = f"Bearer {provider.key.get_secret_value()}"
    try:
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S, headers=headers) as client,
            client.stream("GET", f"{address}/upstream/{quote(candidate.model, safe='')}/props") as response,
        ):
            if response.status_code != 200 or JSON not in response.headers.get("content-type", ""):
                return None
            body = b""
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_BYTES:
                    return None
            return body
    except httpx.HTTPError as exc:
        log.info("%s did not tell the properties of a model: %s", provider.name, type(exc).__name__)
        return None


OPERATIONS = (
    Operation(
        "GET",
        "/upstream/{model:path}/props",
        get_props,
        "Properties of a model that llama-swap serves",
        Role.READ,
        "models",
        params=(Param("model", "path", {"type": "string"}, "The name; it may contain `/`"),),
        replies={200: Reply("As the backend says them", {"type": "object"})},
        is_v1=False,
    ),
)
