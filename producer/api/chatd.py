"""chatd's routes: dispatch and wait, and which providers there are. Its bodies and its status codes.

missing model or messages, bad JSON: 400 · over 4 MiB: 413 · provider not registered: 404 · switched off: 503 ·
the provider's error: 502 · time-out: 504 · anything else: 500
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from starlette.responses import Response

from producer.api.admission import check_submit, models_of
from producer.api.call import Call, json_answer
from producer.api.chat_submission import chat_submission
from producer.api.errors import FINAL, ApiError
from producer.api.failure import failure
from producer.api.held import HeldAnswer
from producer.api.operation import Body, Operation, Reply
from producer.api.options import HEADERS, read_options
from producer.api.principal import Role
from shared.errors import InvalidRequest, ProviderNotFound
from shared.job import Job, JobState, Lane, WaitReason
from shared.store.limits import ScopeView
from shared.store.reading import Told

_CLOSED = frozenset({WaitReason.COOLDOWN, WaitReason.BREAKER, WaitReason.CREDENTIALS, WaitReason.QUOTA})
"""What makes a provider unavailable."""

SCHEMAS = {
    "ChatAnswer": {
        "type": "object",
        "required": ["id", "provider", "model", "content", "finish_reason", "usage", "latency_ms"],
        "properties": {
            "id": {"type": "string", "description": "The job's"},
            "provider": {"type": "string"},
            "model": {"type": "string", "description": "Its name at the provider"},
            "content": {"type": ["string", "null"]},
            "message": {"type": "object", "description": "OpenAI's, with tool calls if there are any"},
            "finish_reason": {"type": ["string", "null"]},
            "usage": {
                "type": "object",
                "required": ["prompt_tokens", "completion_tokens"],
                "properties": {
                    "prompt_tokens": {"type": ["integer", "null"]},
                    "completion_tokens": {"type": ["integer", "null"]},
                },
            },
            "latency_ms": {"type": ["integer", "null"], "description": "Of the call that answered"},
            "cost_usd": {"type": ["number", "null"], "description": "null: nobody knows"},
        },
    },
    "Providers": {
        "type": "object",
        "required": ["providers"],
        "properties": {
            "providers": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "wire", "available"],
                    "properties": {
                        "name": {"type": "string"},
                        "wire": {"type": "string"},
                        "available": {"type": "boolean", "description": "Its breaker lets calls through"},
                        "reason": {"type": ["string", "null"], "description": "Why it is not available"},
                        "workers": {"type": "integer", "description": "Living workers that serve it"},
                    },
                },
            }
        },
    },
}


async def chat(call: Call) -> Response:
    """Dispatch a chat request and wait for its answer."""
    body = await call.json()
    for name in ("model", "messages"):
        if not body.get(name):
            raise InvalidRequest(f"{name}: this field is required", field=name)
    options = read_options(call.headers, body, Lane.INTERACTIVE)
    submission = chat_submission(call, body, options, stream=False)
    await check_submit(call, lane=options.lane, models=models_of(body))
    try:
        wait = await call.services.submits.hold(submission)
    except ProviderNotFound as exc:
        raise _not_there(call, exc) from None
    return HeldAnswer(call, wait, _answer)


def _not_there(call: Call, exc: ProviderNotFound) -> ApiError:
    """A provider that was switched off on purpose is there, and does not serve."""
    entry = call.services.settings.providers.get(exc.provider)
    if entry is None or entry.base_url:
        return ApiError(404, str(exc), code=exc.code, param="model")
    return ApiError(
        503, str(exc), kind="server_error", code="provider_disabled", param="model", headers=FINAL
    )


def _answer(ended: Told) -> Response:
    if ended.state is not JobState.COMPLETED or ended.response is None:
        raise _chatd_failure(ended.read())
    record: dict[str, Any] = ended.response.get("chatq") or {}
    choice = (ended.response.get("choices") or [{}])[0]
    usage = ended.response.get("usage") or {}
    latency_s = record.get("latency_s")
    message = choice.get("message") or {}
    return json_answer(
        {
            "id": ended.id,
            "provider": record.get("provider"),
            "model": record.get("upstream_model"),
            "content": message.get("content"),
            "message": message,
            "finish_reason": choice.get("finish_reason"),
            "usage": {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")},
            "latency_ms": None if latency_s is None else round(latency_s * 1000),
            "cost_usd": record.get("cost_usd"),
        }
    )


def _chatd_failure(job: Job) -> ApiError:
    """Whatever a provider said is 502 here, its status in the text; only what no provider said is told apart."""
    error = failure(job)
    if error.status in (500, 504) or job.error is None or job.error.status is None:
        return error
    text = f"{error} (HTTP {job.error.status})"
    return ApiError(502, text, kind="server_error", code=job.error.code, headers=FINAL)


async def list_providers(call: Call) -> Response:
    """The registered providers, and whether each is available now."""
    registered = call.services.registry.registered
    status = await call.services.producer.status()
    serving = Counter(
        name for worker in status.workers for name in {q.rpartition(".")[0] for q in worker.queues}
    )
    scopes = [
        scope for name, provider in registered.items() for scope in (f"provider:{name}", provider.account)
    ]
    views = {view.name: view for view in await call.services.producer.limits.show(scopes)}
    rows = []
    for name, provider in registered.items():
        reasons = [_closed_why(views.get(scope)) for scope in (f"provider:{name}", provider.account)]
        reason = next(filter(None, reasons), None)
        rows.append(
            {
                "name": name,
                "wire": provider.wire,
                "available": reason is None,
                "reason": reason,
                "workers": serving[name],
            }
        )
    return json_answer({"providers": rows})


def _closed_why(view: ScopeView | None) -> str | None:
    """Why no call goes through just now; being busy is no reason."""
    if view is None or view.hold is None or view.hold.reason not in _CLOSED:
        return None
    return view.hold.reason.value


OPERATIONS = (
    Operation(
        "POST",
        "/chat",
        chat,
        "Dispatch a chat request and wait (chatd's call)",
        Role.SUBMIT,
        "chatd",
        params=HEADERS,
        body=Body({"$ref": "#/components/schemas/ChatRequest"}),
        replies={200: Reply("The answer", {"$ref": "#/components/schemas/ChatAnswer"})},
    ),
    Operation(
        "GET",
        "/chat/providers",
        list_providers,
        "The registered providers, and whether they are available now",
        Role.READ,
        "chatd",
        replies={200: Reply("The providers", {"$ref": "#/components/schemas/Providers"})},
    ),
)
