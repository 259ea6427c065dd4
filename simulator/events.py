"""Server-sent events: one JSON object each."""

from __future__ import annotations

from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"
"""OpenAI's mark of a good end."""


def data_event(data: dict[str, Any]) -> bytes:
    """An event without a name."""
    return b"data: %b\n\n" % orjson.dumps(data)


def typed_event(data: dict[str, Any]) -> bytes:
    """An event named like its data's `type`."""
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), orjson.dumps(data))
