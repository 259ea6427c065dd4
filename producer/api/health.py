"""Health: whether this process lives, and whether it can serve."""

from __future__ import annotations

import asyncio
import time

from starlette.responses import Response

from producer.api.call import Call, json_answer
from producer.api.operation import Operation, Reply
from shared.errors import StoreUnavailable

READY_S = 1.0
"""How long Redis may take: who asks has to decide soon, too."""

_STATUS = {"type": "string", "const": "ok"}


async def get_health(call: Call) -> Response:
    """Whether this process answers; it asks nobody."""
    return json_answer({"status": "ok"})


async def get_ready(call: Call) -> Response:
    """Whether a script goes to Redis and back; this one reads nothing and writes nothing.

    Raises:
        StoreError: It does not: 503.
    """
    started = time.monotonic()
    # Not cancelled: that would tear the connection down in the middle of a command.
    reaching = asyncio.ensure_future(call.services.store.run("read_scopes", [], retry_s=0))
    reaching.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait((reaching,), timeout=READY_S)
    if not reaching.done():
        raise StoreUnavailable(f"Redis did not answer within {READY_S:g} s")
    await reaching
    return json_answer({"status": "ok", "redis_ms": round((time.monotonic() - started) * 1000, 3)})


OPERATIONS = (
    Operation(
        "GET",
        "/health",
        get_health,
        "Whether the server lives",
        None,
        "operations",
        replies={
            200: Reply(
                "It does", {"type": "object", "properties": {"status": _STATUS}, "required": ["status"]}
            )
        },
        is_v1=False,
    ),
    Operation(
        "GET",
        "/ready",
        get_ready,
        "Whether the server can serve: a script goes to Redis and back; else 503",
        None,
        "operations",
        replies={
            200: Reply(
                "It can",
                {
                    "type": "object",
                    "properties": {"status": _STATUS, "redis_ms": {"type": "number", "minimum": 0}},
                    "required": ["status", "redis_ms"],
                },
            )
        },
        is_v1=False,
    ),
)
