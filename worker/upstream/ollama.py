"""The `ollama` wire: `POST {base}/api/chat` (provider-wire.md §1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from shared.chat import ChatRequest
from worker.upstream.answers import malformed
from worker.upstream.ollama_fields import common_body, finished, said, text_and_images, usage_of
from worker.upstream.tools import arguments_object, called_function
from worker.upstream.wire import Completion, Wire


def request_body(request: ChatRequest, model: str, extra_body: Mapping[str, Any]) -> dict[str, Any]:
    """The request in Ollama's words.

    Ollama has no `tool_choice`: "none" is said by leaving the tools out, the rest is the model's to decide.

    Raises:
        CandidateUnfit: A message holds what Ollama cannot take.
    """
    body = common_body(request, model, extra_body)
    names: dict[str, str] = {}
    body["messages"] = [
        _message(message, f"messages.{position}", names) for position, message in enumerate(request.messages)
    ]
    if request.tools and request.tool_choice != "none":
        body["tools"] = request.tools
    return body


def _message(message: Mapping[str, Any], where: str, names: dict[str, str]) -> dict[str, Any]:
    """One message; `names` collects the tool behind each call's id, which the tool's answer needs."""
    text, images = text_and_images(message, where)
    role = "system" if message["role"] == "developer" else message["role"]
    translated: dict[str, Any] = {"role": role, "content": text}
    if images:
        translated["images"] = images
    trace = message.get("reasoning_content") or message.get("thinking")
    if isinstance(trace, str) and trace:
        translated["thinking"] = trace
    calls = message.get("tool_calls")
    if calls:
        translated["tool_calls"] = [_call_to_wire(call, where, names) for call in calls]
    if role == "tool":
        call_id = message.get("tool_call_id")
        name = message.get("name") or names.get(str(call_id))
        named = {"tool_name": name, "tool_call_id": call_id}
        translated.update(
            (field, value) for field, value in named.items() if isinstance(value, str) and value
        )
    return translated


def _call_to_wire(call: Mapping[str, Any], where: str, names: dict[str, str]) -> dict[str, Any]:
    name, arguments = called_function(call, where)
    function = {"name": name, "arguments": arguments_object(name, arguments, where)}
    call_id = call.get("id")
    if not isinstance(call_id, str) or not call_id:
        return {"function": function}
    names[call_id] = name
    return {"function": function, "id": call_id}


def completion(data: dict[str, Any], model: str) -> Completion:
    """Translate the answer.

    Raises:
        UpstreamError: The answer is not finished, or is none.
    """
    answered = data.get("message")
    if not isinstance(answered, dict):
        raise malformed("the answer has no message")
    message = said(answered.get("content", ""), answered.get("thinking"))
    calls = answered.get("tool_calls")
    if calls:
        if not isinstance(calls, list):
            raise malformed("the answer's tool calls are not a list")
        message["tool_calls"] = [_call_from_wire(call, index) for index, call in enumerate(calls)]
    return finished(data, model, message)


def _call_from_wire(call: Any, index: int) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise malformed("a tool call of the answer names no function")
    return {
        "id": call.get("id") or f"call_{index}",
        "type": "function",
        "function": {
            "name": function["name"],
            "arguments": orjson.dumps(function.get("arguments") or {}).decode(),
        },
    }


OLLAMA = Wire(path="/api/chat", request_body=request_body, completion=completion, usage=usage_of)
