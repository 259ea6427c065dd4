"""A Responses request inside a chat request, for providers that speak the Responses API themselves.

Such a job is asked in that API's own words (hosted tools, sealed thoughts), and only where they are understood: its
chat messages are none to be sent.
"""

from __future__ import annotations

from typing import Any

from shared.chat import ChatRequest

FIELD = "responses_request"
"""Name of the field of a chat request that holds the body of a Responses request."""


def native_request(request: ChatRequest) -> dict[str, Any] | None:
    """The Responses body of a chat request; None if it has none, and is an ordinary one."""
    body = (request.model_extra or {}).get(FIELD)
    return body if isinstance(body, dict) else None
