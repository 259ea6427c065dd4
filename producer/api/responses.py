"""Responses: OpenAI's newer call, for every provider; in the background and streamed, too."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from producer.api.call import Call, json_answer
from producer.api.errors import ApiError, not_found
from producer.api.files import list_object
from producer.api.operation import Body, Operation, Param, Reply
from producer.api.options import HEADERS
from producer.api.principal import Role
from producer.api.responses_create import create_response
from producer.api.responses_stream import ResponseStream, is_log_gone
from producer.api.schemas.responses import SCHEMAS
from producer.responses.ids import job_id_of
from shared.errors import JobNotFound
from shared.store.responses import StoredResponse

__all__ = ["OPERATIONS", "SCHEMAS"]

MAX_EVENT = 10**9
"""Highest number of an event that may be asked for."""


async def get_response(call: Call) -> Response:
    """A response as it is now, or its events."""
    after = call.number("starting_after", -1, least=0, most=MAX_EVENT)
    response = await _owned(call)
    is_streamed = call.request.query_params.get("stream", "").lower() == "true"
    if is_streamed and not await is_log_gone(call, response):
        return ResponseStream(call, response, after=after)
    return json_answer(await call.services.responses.now(response))


async def cancel_response(call: Call) -> Response:
    """End a response in the background; one that has ended stays what it is."""
    response = await _owned(call)
    if not response.asked["background"]:
        text = "only responses in the background are cancelled; to end another one, close its connection"
        raise ApiError(400, text, code="not_in_background")
    if response.outcome is None:
        await _end_job(call, response)
    return json_answer(await call.services.responses.now(response))


async def delete_response(call: Call) -> Response:
    """Delete what was asked and answered; what is still at work is ended.

    The record goes last: a call that breaks off before can be made again.
    """
    response = await _owned(call)
    await _end_job(call, response)
    await call.services.producer.forget([job_id_of(response.id)])
    await call.services.responses.store.delete(response.id)
    return json_answer({"id": response.id, "object": "response", "deleted": True})


async def list_input_items(call: Call) -> Response:
    """The conversation that a response answers, newest first unless asked otherwise."""
    limit = call.number("limit", 20, least=1, most=100)
    order = call.request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(400, "order: must be asc or desc", code="invalid_value", param="order")
    response = await _owned(call)
    items = await call.services.responses.store.read_items(response.id)
    if order == "desc":
        items.reverse()
    start = _place_after(items, call.request.query_params.get("after"))
    page = items[start : start + limit]
    return json_answer(list_object(page, has_more=start + limit < len(items)))


def _place_after(items: list[dict[str, Any]], after: str | None) -> int:
    if after is None:
        return 0
    for place, item in enumerate(items, 1):
        if item["id"] == after:
            return place
    raise not_found("item", after)


async def _end_job(call: Call, response: StoredResponse) -> None:
    try:
        await call.services.producer.cancel(job_id_of(response.id))
    except JobNotFound:
        return


async def _owned(call: Call) -> StoredResponse:
    """A response of the caller's.

    Raises:
        ApiError: 404; there is none, or it is somebody else's.
    """
    response_id = call.path("id")
    response = await call.services.responses.store.read(response_id)
    if response is None or not call.principal.owns(response.client):
        raise not_found("response", response_id)
    return response


_ID = Param("id", "path", {"type": "string"}, "Id of the response")

_RESPONSE = Reply("The response", {"$ref": "#/components/schemas/Response"})
_STREAMED = Reply("The response, or its events", {"$ref": "#/components/schemas/Response"}, or_events=True)

OPERATIONS = (
    Operation(
        "POST",
        "/responses",
        create_response,
        "Ask a model; waits for its turn, streams, or goes on in the background",
        Role.SUBMIT,
        "responses",
        params=HEADERS,
        body=Body({"$ref": "#/components/schemas/ResponsesRequest"}),
        replies={200: _STREAMED},
    ),
    Operation(
        "GET",
        "/responses/{id}",
        get_response,
        "A response: its state and its answer, or its events again",
        Role.READ,
        "responses",
        params=(
            _ID,
            Param("stream", "query", {"type": "boolean"}, "Events, as long as they can be made again"),
            Param(
                "starting_after",
                "query",
                {"type": "integer", "minimum": 0, "maximum": MAX_EVENT},
                "Only events after this number",
            ),
        ),
        replies={200: _STREAMED},
    ),
    Operation(
        "POST",
        "/responses/{id}/cancel",
        cancel_response,
        "End a response in the background",
        Role.SUBMIT,
        "responses",
        params=(_ID,),
        replies={200: _RESPONSE},
    ),
    Operation(
        "DELETE",
        "/responses/{id}",
        delete_response,
        "Delete a response, its answer and its job",
        Role.SUBMIT,
        "responses",
        params=(_ID,),
        replies={200: Reply("It is gone", {"$ref": "#/components/schemas/ResponseDeleted"})},
    ),
    Operation(
        "GET",
        "/responses/{id}/input_items",
        list_input_items,
        "The conversation that a response answers",
        Role.READ,
        "responses",
        params=(
            _ID,
            Param("after", "query", {"type": "string"}, "Only items after the one with this id"),
            Param("limit", "query", {"type": "integer", "minimum": 1, "maximum": 100}, "Most items (20)"),
            Param("order", "query", {"enum": ["asc", "desc"]}, "Newest first (desc), or oldest first"),
        ),
        replies={200: Reply("Items", {"$ref": "#/components/schemas/ResponseItemList"})},
    ),
)
