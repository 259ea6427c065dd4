"""A delivery as JSON: what the HTTP API answers and `--json` prints."""

from __future__ import annotations

from typing import Any

from shared.store.waiting import read_number
from shared.store.webhooks import Delivery

_ATTEMPT = {
    "attempt": ["integer", "null"],
    "at": ["number", "null"],
    "event": ["string", "null"],
    "type": ["string", "null"],
    "status": ["integer", "null"],
    "error": ["string", "null"],
    "duration_s": ["number", "null"],
}

SCHEMAS: dict[str, Any] = {
    "WebhookDelivery": {
        "type": "object",
        "required": ["id", "object", "state", "attempts", "next_at", "log"],
        "properties": {
            "id": {"type": "string", "description": "Id of the job, batch or response"},
            "object": {"const": "webhook.delivery"},
            "state": {
                "enum": ["pending", "delivered", "failed", "nothing"],
                "description": "nothing: the object has gone, or goes on again",
            },
            "attempts": {"type": "integer", "description": "Begun for the present event"},
            "next_at": {
                "type": ["number", "null"],
                "description": "Unix seconds at which it is tried again",
            },
            "log": {"type": "array", "items": {"$ref": "#/components/schemas/WebhookAttempt"}},
        },
    },
    "WebhookAttempt": {
        "type": "object",
        "description": "One call, or why none was made; times are Unix seconds",
        "required": list(_ATTEMPT),
        "properties": {name: {"type": kind} for name, kind in _ATTEMPT.items()},
    },
}


def delivery_view(object_id: str, delivery: Delivery) -> dict[str, Any]:
    """How telling somebody of an object's end stands (schema `WebhookDelivery`)."""
    return {
        "id": object_id,
        "object": "webhook.delivery",
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "next_at": delivery.next_at,
        "log": [
            {name: _read(entry.get(name), kind) for name, kind in _ATTEMPT.items()} for entry in delivery.log
        ],
    }


def _read(value: Any, kinds: list[str]) -> Any:
    """A value of one of these kinds, or None: the log in Redis is untrusted."""
    if "string" in kinds:
        return value if isinstance(value, str) else None
    number = read_number(value)
    return number if number is None or "number" in kinds or isinstance(number, int) else None
