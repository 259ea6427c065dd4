"""Chat completions: OpenAI's call, queued. It waits for its answer, streams it, or is told where to look."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.responses import Response

from producer.api.admission import check_submit, models_of
from producer.api.call import Call, json_answer
from producer.api.chat_stream import stream_chat
from producer.api.chat_submission import chat_submission
from producer.api.connection import until_left
from producer.api.errors import as_api_error
from producer.api.failure import failure
from producer.api.held import HeldAnswer, Render, cancel_if_dropped
from producer.api.operation import Body, Operation, Reply
from producer.api.options import HEADERS, LANES_OF_TIERS, PREFER, read_options, read_preference
from producer.api.principal import Role
from producer.api.rate_limits import limit_headers
from producer.job_view import job_view
from producer.wait import Wait
from shared.errors import InvalidRequest, WaitTimeout
from shared.job import Job, JobState, Lane
from shared.store.reading import Told


async def create(call: Call) -> Response:
    """Enqueue, then wait, stream or answer at once."""
    body = await call.json()
    options = read_options(call.headers, body, Lane.INTERACTIVE)
    preference = read_preference(call.headers)
    is_streaming = _flag(body, "stream")
    include_usage = _includes_usage(body)
    try:
        submission = chat_submission(call, body, options, stream=is_streaming)
    except InvalidRequest as exc:
        error = as_api_error(exc)
        # A client that asks for them sends an empty request.
        error.headers |= limit_headers(call.services, body.get("model"))
        raise error from None
    await check_submit(call, lane=options.lane, models=models_of(body))
    submits = call.services.submits
    if is_streaming:
        job_id = await submits.submit(submission)
        return await stream_chat(call, job_id, model=str(body["model"]), include_usage=include_usage)
    if preference.wait_s == 0:
        return _accepted(await call.services.producer.get(await submits.submit(submission)))
    wait = await submits.hold(submission)
    limits = limit_headers(call.services, body["model"])
    render = partial(completion, tier=body.get("service_tier"), headers=limits)
    if preference.wait_s is None:
        return HeldAnswer(call, wait, render)
    return await _answer_within(call, wait, preference.wait_s, render)


def completion(ended: Told, tier: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """The ChatCompletion of an ended job.

    Args:
        tier: The `service_tier` that was asked for; it is echoed where the provider says none.

    Raises:
        ApiError: It ended without one.
    """
    if ended.state is not JobState.COMPLETED or ended.response is None:
        raise failure(ended.read())
    response = {**ended.response}
    if isinstance(tier, str) and tier in LANES_OF_TIERS and not response.get("service_tier"):
        response["service_tier"] = tier
    return json_answer(response, headers={**(headers or {}), "x-chatq-job": ended.id})


async def _answer_within(call: Call, wait: Wait, wait_s: float, render: Render) -> Response:
    try:
        seen = await until_left(call.request.receive, _seen_after(call, wait, wait_s))
    except asyncio.CancelledError:  # the server stops; who is told to ask again makes another job
        await cancel_if_dropped(call, wait.job_id)
        raise
    if seen is None:
        await cancel_if_dropped(call, wait.job_id)
        return Response(status_code=204)  # nobody reads it
    return render(seen) if seen.state.is_terminal else _accepted(seen.read())


def _accepted(job: Job) -> Response:
    """Where the answer will be."""
    headers = {"Location": f"/v1/jobs/{job.id}", "Preference-Applied": "respond-async"}
    return json_answer(job_view(job), 202, headers)


async def _seen_after(call: Call, wait: Wait, wait_s: float) -> Told:
    """The job at its end, or as it is after that time."""
    producer = call.services.producer
    try:
        return await producer.answers.finish(wait, timeout_s=wait_s)
    except WaitTimeout:
        return Told.of(await producer.get(wait.job_id))


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidRequest(f"{name}: must be true or false", field=name)


def _includes_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise InvalidRequest("stream_options: must be an object", field="stream_options")
    return _flag(options, "include_usage")


SCHEMAS = {
    "ChatCompletion": {
        "type": "object",
        "required": ["id", "object", "created", "model", "choices", "chatq"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "chat.completion"},
            "created": {"type": "integer"},
            "model": {"type": "string"},
            "choices": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["index", "finish_reason", "message"],
                    "properties": {
                        "index": {"type": "integer"},
                        "finish_reason": {"type": ["string", "null"]},
                        "message": {"type": "object", "required": ["role"]},
                    },
                },
            },
            "usage": {"type": ["object", "null"]},
            "service_tier": {"type": ["string", "null"]},
            "chatq": {"type": "object", "description": "Provider, times, tokens and cost"},
        },
    }
}

OPERATIONS = (
    Operation(
        "POST",
        "/chat/completions",
        create,
        "Ask a model; the call waits in the queue for its turn",
        Role.SUBMIT,
        "chat",
        params=(*HEADERS, PREFER),
        body=Body({"$ref": "#/components/schemas/ChatRequest"}),
        replies={
            200: Reply(
                "The answer, whole or in chunks",
                {"$ref": "#/components/schemas/ChatCompletion"},
                or_events=True,
            ),
            202: Reply("With `Prefer`: the job, not ended yet", {"$ref": "#/components/schemas/Job"}),
        },
    ),
)
