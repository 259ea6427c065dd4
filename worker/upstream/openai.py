"""The `openai` wire: `POST {base}/chat/completions`, which is chatq's own vocabulary (provider-wire.md §0)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from shared.chat import ChatRequest
from worker.upstream.answers import error_inside, malformed
from worker.upstream.finish import raise_if_broken_off
from worker.upstream.openai_usage import usage_of
from worker.upstream.wire import Completion, Wire

_NOT_ON_THIS_WIRE = ("format", "think", "fallbacks")
"""Known to chatq only: Ollama's short forms, which are translated, and where else the job may go."""


def request_body(request: ChatRequest, model: str, extra_body: Mapping[str, Any]) -> dict[str, Any]:
    """The request as it came, under the provider's `extra_body`; fields that are null are left out."""
    given = request.body()
    if not given.keys().isdisjoint(_NOT_ON_THIS_WIRE):
        _translate(given, request)
    body = {**extra_body, **given} if extra_body else given
    body["model"] = model
    body["stream"] = False
    if None in body.values():
        body = {name: value for name, value in body.items() if value is not None}
    return body


def _translate(given: dict[str, Any], request: ChatRequest) -> None:
    for name in _NOT_ON_THIS_WIRE:
        given.pop(name, None)
    if request.response_format is None:
        if request.format == "json":
            given["response_format"] = {"type": "json_object"}
        elif isinstance(request.format, dict):
            given["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.format},
            }
    # A level has a field of its own here. On or off has none that all models accept: some refuse
    # `reasoning_effort: none` with a 400 (provider-wire.md §5, §16), so the model's default stands
    # unless a quirk knows how this one is told.
    if isinstance(request.think, str) and request.reasoning_effort is None:
        given["reasoning_effort"] = request.think


def completion(data: dict[str, Any], model: str) -> Completion:
    """Check that there is an answer in `data`, and read the record from it.

    Raises:
        UpstreamError: No choice, an error in the choice, or a choice that is not one.
    """
    choice = _first_choice(data)
    if choice.get("error"):  # OpenRouter's alone: beside partial content, in a 200
        raise error_inside({"error": choice["error"]}, "openrouter")
    finish_reason = choice.get("finish_reason") or None
    if isinstance(finish_reason, str):
        raise_if_broken_off(finish_reason, choice)
    message = choice.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("content"), (str, list, type(None))):
        raise malformed("the answer's first choice has no message")
    if finish_reason is not None and not isinstance(finish_reason, str):
        raise malformed("the answer's finish_reason is not text")
    _complete_envelope(data, model)
    return Completion(data, usage_of(data), finish_reason)


def _first_choice(data: dict[str, Any]) -> dict[str, Any]:
    choices = data.get("choices")
    if not choices:
        raise malformed("the answer has no choices", code="no_choices")
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise malformed("the answer's choices are not a list of objects")
    return choices[0]


def _complete_envelope(data: dict[str, Any], model: str) -> None:
    """Fields that clients of a ChatCompletion count on and that some servers leave out."""
    if not data.get("id"):
        data["id"] = f"chatcmpl-{uuid.uuid4().hex}"
    if not data.get("created"):
        data["created"] = int(time.time())
    data.setdefault("object", "chat.completion")
    data.setdefault("model", model)


OPENAI = Wire(path="/chat/completions", request_body=request_body, completion=completion, usage=usage_of)
