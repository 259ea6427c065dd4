"""Responses requests that go to the provider in their own words, where it speaks the Responses API.

Two kinds do: those that chat has no words for, and those whose candidates all speak that API, for then nothing is
lost in translation. Streamed ones and those with images or files are translated if they can be: only of chat are
there deltas, and only its attachments are left out of the estimate of tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from producer.responses.request import ResponsesRequest
from producer.responses.translate import input_items, translated
from shared.errors import InvalidRequest
from shared.native_responses import FIELD
from shared.settings import Wire

NATIVE: Wire = "responses"

_NOT_SENT = (
    "model",
    "stream",
    "stream_options",
    "background",
    "store",
    "previous_response_id",
    "fallbacks",
    "chatq",
)
"""What is between the caller and chatq."""

_PLACEHOLDER = [{"role": "user", "content": f"(see {FIELD})"}]
"""A chat request has messages; these are sent to nobody."""

_ATTACHMENTS = ("input_image", "input_file", "input_audio")


def asked_in(
    request: ResponsesRequest,
    body: Mapping[str, Any],
    *,
    wires: Collection[Wire | None],
    earlier: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """The chat request of a Responses request: its translation, or one that holds it as it is.

    Args:
        body: As it came.
        wires: What the candidates speak; None among them = a group decides, and wants to read the prompt.
        earlier: As in `translated`.

    Raises:
        InvalidRequest: It cannot be said in chat, and no candidate speaks its own API.
    """
    items = [*(earlier or ()), *input_items(request)]
    if not request.is_streamed and {*wires} == {NATIVE} and not _has_attachments(items):
        return _native(body, items)
    try:
        return translated(request, earlier=earlier)
    except InvalidRequest:
        if NATIVE not in wires or not items:
            raise
        return _native(body, items)


def _native(body: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sent = {name: value for name, value in body.items() if name not in _NOT_SENT and value is not None}
    sent["input"] = [_sendable(item) for item in items if not _is_unsealed(item)]
    chat = {"model": body["model"], "messages": _PLACEHOLDER, FIELD: sent}
    limit = body.get("max_output_tokens")
    chat |= {"max_completion_tokens": limit} if limit is not None else {}  # for limits and estimates
    return chat | ({"fallbacks": body["fallbacks"]} if body.get("fallbacks") else {})


def _is_unsealed(item: Mapping[str, Any]) -> bool:
    """Thoughts that the provider would look up under their id: it keeps none (`store` is false there)."""
    return item.get("type") == "reasoning" and not item.get("encrypted_content")


def _sendable(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """An item without the id that nobody there knows, where it need not have one."""
    if item.get("type") in (None, "message", "function_call", "function_call_output"):
        return {name: value for name, value in item.items() if name != "id"}
    return item


def _has_attachments(items: Sequence[Mapping[str, Any]]) -> bool:
    contents = [item.get(name) for item in items for name in ("content", "output")]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type") in _ATTACHMENTS for part in parts)
