"""Batches: many requests in a file, run within a time (docs/openai-wire.md §7)."""

from __future__ import annotations

from dataclasses import replace

from starlette.responses import Response

from producer.api.admission import check_submit
from producer.api.batch_request import WEBHOOK_HEADER, read_spec
from producer.api.call import IDEMPOTENCY_KEY, Call, json_answer
from producer.api.errors import not_found
from producer.api.files import list_object
from producer.api.idempotency import object_id
from producer.api.operation import Body, Operation, Param, Reply
from producer.api.principal import Role
from producer.api.schemas.batches import SCHEMAS
from producer.batcher.retry import retry_id, retry_spec
from producer.batcher.view import batch_view
from shared.job import Lane
from shared.store.batch_record import Batch, Spec

__all__ = ["OPERATIONS", "SCHEMAS"]

MAX_REQUEST_BYTES = 256 * 1024
"""A batch is asked for in a few lines."""


async def create_batch(call: Call) -> Response:
    """Accept a batch; its input is validated by a batcher."""
    body = await call.json(max_bytes=MAX_REQUEST_BYTES)
    batch_id = object_id(call, "batch_")
    is_resent = call.idempotency_key is not None
    known = await call.services.batches.get(batch_id) if is_resent else None
    spec = await read_spec(call, body, known)
    return await _create(call, batch_id, call.principal.client, spec)


async def list_batches(call: Call) -> Response:
    """The caller's batches, newest first."""
    limit = call.number("limit", 20, least=1, most=100)
    after = call.request.query_params.get("after")
    page = await call.services.batches.page(call.principal.client, after=after, limit=limit)
    if page is None:
        raise not_found("batch", after or "")
    return json_answer(list_object([batch_view(one) for one in page.entries], has_more=page.has_more))


async def get_batch(call: Call) -> Response:
    """One batch as it is now."""
    return json_answer(batch_view(await _owned_batch(call)))


async def cancel_batch(call: Call) -> Response:
    """Ask for the end of a batch; one that has ended is answered as it is."""
    batch = await _owned_batch(call)
    await call.services.batches.cancel(batch.id)
    return json_answer(batch_view(await _owned_batch(call)))


async def retry_batch(call: Call) -> Response:
    """Make a batch of the lines that failed; the same one, however often it is asked for."""
    batch = await _owned_batch(call)
    models = call.principal.models
    spec = await retry_spec(batch, call.services.files)
    spec = replace(
        spec, models=None if models is None else list(models), budget_usd=call.principal.budget_usd
    )
    has_key = call.idempotency_key is not None
    batch_id = object_id(call, "batch_") if has_key else retry_id(batch)
    return await _create(call, batch_id, batch.client, spec)


async def _create(call: Call, batch_id: str, client: str, spec: Spec) -> Response:
    # The models are the input's; the batcher checks them against the same patterns.
    await check_submit(call, lane=Lane(spec.lane), models=())
    services = call.services
    ttl_s = services.settings.batches.ttl_s
    if not await services.batches.create(batch_id, client, spec, ttl_s=ttl_s):
        raise not_found("file", spec.input_file_id)
    batch = await services.batches.get(batch_id)
    if batch is None or not call.principal.owns(batch.client):
        raise not_found("batch", batch_id)
    return json_answer(batch_view(batch))


async def _owned_batch(call: Call) -> Batch:
    batch_id = call.path("id")
    batch = await call.services.batches.get(batch_id)
    if batch is None or not call.principal.owns(batch.client):
        raise not_found("batch", batch_id)
    return batch


_ID = Param("id", "path", {"type": "string"}, "Id of the batch")
_KEY = Param(
    IDEMPOTENCY_KEY, "header", {"type": "string", "maxLength": 512}, "Same key and same body: same batch"
)
_BATCH = {200: Reply("The batch", {"$ref": "#/components/schemas/Batch"})}

OPERATIONS = (
    Operation(
        "POST",
        "/batches",
        create_batch,
        "Run the requests of a file",
        Role.SUBMIT,
        "batches",
        params=(
            _KEY,
            Param("X-Chatq-Lane", "header", {"enum": list(Lane)}, "Lane of its jobs; batch if nothing is said"),
            Param(WEBHOOK_HEADER, "header", {"type": "string"}, "Told when the batch has ended"),
        ),
        body=Body({"$ref": "#/components/schemas/BatchRequest"}),
        replies=_BATCH,
    ),
    Operation(
        "GET",
        "/batches",
        list_batches,
        "The caller's batches, newest first",
        Role.READ,
        "batches",
        params=(
            Param("after", "query", {"type": "string"}, "Go on behind this batch"),
            Param("limit", "query", {"type": "integer", "minimum": 1, "maximum": 100}, "Most batches"),
        ),
        replies={200: Reply("Some of them", {"$ref": "#/components/schemas/BatchList"})},
    ),
    Operation("GET", "/batches/{id}", get_batch, "A batch", Role.READ, "batches", params=(_ID,), replies=_BATCH),
    Operation(
        "POST", "/batches/{id}/cancel", cancel_batch, "End a batch; what is answered is kept", Role.SUBMIT,
        "batches", params=(_ID,), replies=_BATCH,
    ),
    Operation(
        "POST", "/batches/{id}/retry", retry_batch, "A new batch of only the lines that failed", Role.SUBMIT,
        "batches", params=(_ID, _KEY), replies=_BATCH,
    ),
)  # fmt: skip
