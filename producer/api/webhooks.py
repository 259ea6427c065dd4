"""Webhooks: how telling the caller's server of an end stands, and telling it again."""

from __future__ import annotations

from starlette.responses import Response

from producer.api.call import Call, json_answer
from producer.api.errors import not_found
from producer.api.operation import Operation, Param, Reply
from producer.api.principal import Role
from producer.webhooks.view import SCHEMAS as SCHEMAS
from producer.webhooks.view import delivery_view
from shared.store.webhooks import Delivery, WebhookOutbox, ref_of


async def get_delivery(call: Call) -> Response:
    """How telling of an object's end stands."""
    delivery = await _owned(call, WebhookOutbox(call.services.store))
    return json_answer(delivery_view(call.path("id"), delivery))


async def redeliver(call: Call) -> Response:
    """Tell of an object's end again."""
    outbox = WebhookOutbox(call.services.store)
    before = await _owned(call, outbox)
    await outbox.tell_again(before.ref)
    return json_answer(delivery_view(call.path("id"), await _owned(call, outbox)), 202)


async def _owned(call: Call, outbox: WebhookOutbox) -> Delivery:
    """The delivery that is asked for.

    Raises:
        ApiError: 404; there is none (yet), or it is somebody else's.
    """
    object_id = call.path("id")
    ref = ref_of(object_id)
    delivery = None if ref is None else await outbox.read(ref)
    if delivery is None or not call.principal.owns(delivery.client):
        raise not_found("webhook delivery of", object_id)
    return delivery


_ID = Param("id", "path", {"type": "string"}, "Id of the job, batch or response")
_DELIVERY = {"$ref": "#/components/schemas/WebhookDelivery"}

OPERATIONS = (
    Operation(
        "GET",
        "/webhooks/deliveries/{id}",
        get_delivery,
        "How telling the webhook_url of an object's end stands, with all calls made",
        Role.READ,
        "webhooks",
        params=(_ID,),
        replies={200: Reply("From the first attempt on", _DELIVERY)},
    ),
    Operation(
        "POST",
        "/webhooks/deliveries/{id}/redeliver",
        redeliver,
        "Tell of an object's end again, under the same webhook-id",
        Role.SUBMIT,
        "webhooks",
        params=(_ID,),
        replies={202: Reply("It is due", _DELIVERY)},
    ),
)
