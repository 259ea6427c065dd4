"""Making a response: a chat job, and the record by which it is found again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import Response

from producer.api.admission import check_submit, models_of
from producer.api.call import Call, json_answer
from producer.api.errors import FINAL, ApiError
from producer.api.failure import failure
from producer.api.held import HeldAnswer
from producer.api.idempotency import object_id
from producer.api.options import read_options
from producer.api.responses_stream import ResponseStream
from producer.candidates import find_candidates
from producer.responses.ids import job_id_of, response_id
from producer.responses.items import shown_items
from producer.responses.native import asked_in
from producer.responses.request import ResponsesRequest, echo, read_request
from producer.responses.translate import input_items
from producer.submission import Submission
from producer.webhooks.target import check_webhook_url
from shared.errors import IdempotencyConflict, InvalidRequest, JobRejected, StoreError
from shared.job import Job, Lane
from shared.native_responses import FIELD
from shared.settings import WebhookSettings, Wire
from shared.store.jobs import id_from_key
from shared.store.responses import StoredResponse, Taken, request_digest


async def create_response(call: Call) -> Response:
    """Enqueue; then answer at once (background), stream, or wait as chat completions do."""
    body = await call.json()
    request = read_request(body)
    # The job's key follows from the caller's, but is none that the caller could use elsewhere.
    job_key = f"response {object_id(call, '')}"
    known = await _known(call, job_key, body) if call.idempotency_key is not None else None
    response = known or await _accept(call, request, body, job_key)
    if request.is_streamed:
        return ResponseStream(call, response)
    if request.is_background:
        return json_answer(await call.services.responses.now(response))
    if response.outcome is not None:
        return _kept_answer(response.outcome)
    wait = call.services.producer.answers.expect(job_id_of(response.id))
    return HeldAnswer(call, wait, lambda ended: _answer(call, response, ended.read()))


async def _known(call: Call, job_key: str, body: Mapping[str, Any]) -> StoredResponse | None:
    """What the same call made when it was first sent, if it has ended; else it is accepted again.

    Raises:
        ApiError: 409, what it made was deleted.
        IdempotencyConflict: It had another body.
    """
    store = call.services.responses.store
    found_id = response_id(id_from_key(call.principal.client, job_key))
    known = await store.known(found_id, request_digest(body))
    if known is not None:
        _check_taken(known, found_id)
    response = await store.read(found_id) if known is Taken.KNOWN else None
    return response if response is not None and response.outcome is not None else None


async def _accept(
    call: Call, request: ResponsesRequest, body: Mapping[str, Any], job_key: str
) -> StoredResponse:
    """Submit the job, then take the response down: a job without a record is only one that nobody asks about."""
    services = call.services
    earlier = await _earlier(call, request.previous_response_id)
    chat = asked_in(request, body, wires=_wires(call, request), earlier=earlier)
    is_native = FIELD in chat
    has_deltas = request.is_streamed and not is_native
    lane = Lane.DEFAULT if request.is_background else Lane.INTERACTIVE
    options = read_options(call.headers, body, lane)
    submission = Submission(
        chat,
        options.lane,
        job_key,
        call.principal.client,
        metadata=request.metadata,
        source=options.source,
        expires_in_s=options.expires_in_s,
        tags=options.tags,
        stream=has_deltas,
        webhook_url=_webhook_url(body.get("chatq"), services.settings.webhooks),
        is_listed=True,
        is_native=is_native,
    )
    await check_submit(call, lane=options.lane, models=models_of(chat))
    job_id = await services.submits.submit(submission)
    made = StoredResponse(response_id(job_id), call.principal.client, time.time(), echo(request), has_deltas)
    known_ids = [str(item.get("id")) for item in earlier or ()]
    items = [*(earlier or ()), *shown_items(input_items(request), made.id, known_ids)]
    try:
        taken = await services.responses.store.accept(made, items=items, digest=request_digest(body))
    except StoreError:
        if call.idempotency_key is None:  # else the caller sends it again, and finds the job
            with suppress(StoreError):
                await services.producer.cancel(job_id)
        raise
    _check_taken(taken, made.id)
    if taken is Taken.NEW:
        return made
    return await services.responses.store.read(made.id) or made


def _wires(call: Call, request: ResponsesRequest) -> set[Wire | None]:
    """What the candidates speak (`asked_in`); nothing where the names lead nowhere, which the submit will say."""
    given = (request.model_extra or {}).get("fallbacks")
    fallbacks = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    router, registered = call.services.producer.router, call.services.registry.registered
    try:
        found = find_candidates(request.model, fallbacks, router)
    except JobRejected:
        return set()
    wires: set[Wire | None] = {
        registered[one.provider].wire_of(one.model) for one in found if one.provider in registered
    }
    has_groups = any(router.group_of(name) is not None for name in (request.model, *fallbacks))
    return wires | {None} if has_groups else wires


async def _earlier(call: Call, previous_id: str | None) -> list[dict[str, Any]] | None:
    """The conversation up to the response that this one follows; None if it follows none."""
    if previous_id is None:
        return None
    book = call.services.responses
    previous = await book.store.read(previous_id)
    if previous is None or not call.principal.owns(previous.client):
        raise _previous_error(f"previous response with id {previous_id[:100]!r} not found", "not_found")
    conversation = await book.conversation(previous)
    if conversation is None:
        raise _previous_error(f"previous response {previous_id!r} has no answer (yet)", "not_answered")
    return conversation


def _previous_error(text: str, what: str) -> ApiError:
    return ApiError(400, text, code=f"previous_response_{what}", param="previous_response_id")


def _check_taken(taken: Taken, response_id: str) -> None:
    if taken is Taken.CONFLICT:
        text = f"the idempotency key belongs to response {response_id}, which was asked for otherwise"
        raise IdempotencyConflict(text, job_id=job_id_of(response_id))
    if taken is Taken.DELETED:
        text = "the response that this idempotency key stands for was deleted"
        raise ApiError(409, text, kind="conflict", code="deleted", headers=FINAL)


def _webhook_url(own: Any, settings: WebhookSettings) -> str | None:
    """The address in chatq's own key of the body."""
    match own:
        case None:
            return None
        case {**fields} if fields.keys() <= {"webhook_url"}:
            url = fields.get("webhook_url")
            return None if url is None else check_webhook_url(url, settings)
        case _:
            raise InvalidRequest("chatq: may have a webhook_url, and nothing else", field="chatq")


def _answer(call: Call, response: StoredResponse, job: Job) -> Response:
    """The answer of a call that waited.

    Raises:
        ApiError: The job ended without one.
    """
    found = call.services.responses.of_job(response, job)
    if found["status"] in ("completed", "incomplete"):
        return json_answer(found, headers={"x-chatq-job": job.id})
    raise failure(job)


def _kept_answer(outcome: Mapping[str, Any]) -> Response:
    """The same from what was kept, when the call comes again long after."""
    if outcome["status"] in ("completed", "incomplete"):
        return json_answer(outcome)
    error = outcome.get("error") or {"message": "the response was cancelled"}
    raise ApiError(502, error["message"], kind="server_error", code="response_failed", headers=FINAL)
