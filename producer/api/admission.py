"""Admission: whether a caller may have these jobs made. Every handler that makes some asks here first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from producer.api.call import Call
from shared.job import Lane


async def check_submit(call: Call, *, lane: Lane, models: Iterable[str]) -> None:
    """See that the caller may use this lane and ask for these models, and has money left today.

    Args:
        models: Names as the request writes them, its fallbacks included (`models_of`).

    Raises:
        ApiError: 403, the lane or a model is not allowed; 429 `insufficient_quota`, the budget is spent.
        StoreError: No answer from Redis.
    """
    call.principal.check_lane(lane)
    for name in models:
        call.principal.check_model(name)
    await call.services.spend.check(call.principal)


def models_of(body: Mapping[str, Any]) -> list[str]:
    """The models that an unchecked chat request asks for: its own and its fallbacks, as far as they are texts.

    `models` are OpenRouter's fallbacks, which chatq passes on: a provider must not go where the caller may not.
    """
    lists = (body.get(name) for name in ("fallbacks", "models"))
    asked = [body.get("model"), *(name for names in lists if isinstance(names, list) for name in names)]
    return [name for name in asked if isinstance(name, str)]
