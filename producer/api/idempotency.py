"""Ids of objects that are made by a POST: the same call, sent again, makes nothing new."""

from __future__ import annotations

from producer.api.call import IDEMPOTENCY_KEY, Call
from producer.api.errors import ApiError
from shared.store.jobs import id_from_key, new_id

MAX_KEY = 512
"""Longest key, in characters."""


def object_id(call: Call, prefix: str) -> str:
    """An id: the one that the caller's `Idempotency-Key` stands for, else a fresh one.

    Raises:
        ApiError: 400; the key is empty or too long.
    """
    key = call.idempotency_key
    if key is None:
        return f"{prefix}{new_id()}"
    if not 0 < len(key) <= MAX_KEY:
        text = f"Idempotency-Key: must have 1 to {MAX_KEY} characters"
        raise ApiError(400, text, code="invalid_value", param=IDEMPOTENCY_KEY)
    return f"{prefix}{id_from_key(call.principal.client, key)}"
