"""OpenAI's chat wire: chat completions and the model list. Shapes: openai/openai-openapi.

Thoughts are counted when `reasoning_effort` asks for them, and shown where a provider of this wire shows them:
`reasoning_content` for `thinking` (DeepSeek, Moonshot, MiMo), `reasoning` for `reasoning` (OpenRouter).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from simulator.answer import Answer, ToolCall, pieces
from simulator.demand import WORDS, Demand, choose_tool
from simulator.digest import flatten
from simulator.events import DONE, data_event
from simulator.framing import JSON, SSE, Content, Request, plain
from simulator.openai_errors import SERVER_ERROR, OpenAIErrors, error_object
from simulator.openai_requests import cap_tokens, json_form, model_name, offered_tools, tool_choice
from simulator.refusals import InvalidRequest
from simulator.wire import ChatCall, PromptTokens, Timing, decode

_CHUNK = "chat.completion.chunk"
_FORMS = frozenset(("tools", "response_format", "thinking", "reasoning", "reasoning_effort"))
_DECLINED = "I'm sorry, I cannot assist with that request."


class OpenAIWire(OpenAIErrors):
    """`POST …/chat/completions`."""

    name = "openai"

    def parse(self, request: Request) -> ChatCall:
        """Read a request; streaming is off unless asked for."""
        data = decode(request.body)
        model, messages = model_name(data), data.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
            raise InvalidRequest("'messages' must be a non-empty array of objects", "messages")
        _check_results(messages)
        system, prompt = flatten(messages)
        options = data.get("stream_options")
        return ChatCall(
            model,
            system,
            prompt,
            cap_tokens(data, "max_completion_tokens", "max_tokens"),
            is_stream=data.get("stream") is True,
            demand=WORDS if _FORMS.isdisjoint(data) else _demand(data, messages),
            images=sum(map(_images, messages)),
            includes_usage=isinstance(options, dict) and options.get("include_usage") is True,
        )

    def answer(self, call: ChatCall, answer: Answer, prompt: PromptTokens, timing: Timing) -> Content:
        """A ChatCompletion, or its chunks with a usage chunk if that was asked for."""
        usage = _usage(answer, prompt)
        finish_reason = "length" if answer.is_cut else "tool_calls" if answer.tool_call else "stop"
        if call.is_stream:
            chunks = _chunks(call, [*_deltas(call, answer)], finish_reason, timing)
            if call.includes_usage:
                chunks.append(data_event({**_opening(call, timing, _CHUNK), "choices": [], "usage": usage}))
            return Content(SSE, [*chunks, DONE], is_stream=True)
        return _completion(call, _message(call, answer), finish_reason, usage, timing)

    def answer_without_choice(self, call: ChatCall, timing: Timing) -> Content:
        """`choices: []`."""
        if call.is_stream:
            event = data_event({**_opening(call, timing, _CHUNK), "choices": []})
            return Content(SSE, [event, DONE], is_stream=True)
        return plain(JSON, orjson.dumps({**_opening(call, timing, "chat.completion"), "choices": []}))

    def blocked(self, call: ChatCall, prompt: PromptTokens, timing: Timing) -> Content:
        """`message.refusal` and no content."""
        if call.is_stream:
            return Content(
                SSE,
                [*_chunks(call, [{"refusal": _DECLINED}], "content_filter", timing), DONE],
                is_stream=True,
            )
        usage = _usage(Answer("", 0, is_cut=False), prompt)
        message = {"role": "assistant", "content": None, "refusal": _DECLINED}
        return _completion(call, message, "content_filter", usage, timing)

    def error_in_answer(self, call: ChatCall, begun: Sequence[bytes] = ()) -> Content:
        """A top-level `error` with status 200; a stream ends after it without `[DONE]`."""
        data = error_object(SERVER_ERROR, "server_error", code="server_error")
        if call.is_stream:
            return Content(SSE, [*begun, data_event(data)], is_stream=True)
        return plain(JSON, orjson.dumps(data))


def models(names: Sequence[str]) -> bytes:
    """Body of `GET /v1/models`."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in names]
    return orjson.dumps({"object": "list", "data": data})


def _demand(data: dict[str, Any], messages: list[dict[str, Any]]) -> Demand:
    is_json, schema = json_form(data.get("response_format"), "response_format")
    tools = data.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise InvalidRequest("'tools' must be an array of objects", "tools")
    functions = [tool.get("function") for tool in tools if tool.get("type") == "function"]
    is_after_result = messages[-1].get("role") == "tool"
    choice = tool_choice(data.get("tool_choice"))
    tool = choose_tool(offered_tools(functions), choice, is_after_result=is_after_result)
    trace = _trace(data)
    is_thinking = trace is not None or data.get("reasoning_effort") not in (None, "none")
    return Demand(tool, is_json, schema, is_thinking, trace)


def _trace(data: dict[str, Any]) -> str | None:
    """The field that shows thoughts, by the switch that asks for them."""
    thinking, reasoning = data.get("thinking"), data.get("reasoning")
    if isinstance(thinking, dict) and thinking.get("type") == "enabled":
        return "reasoning_content"
    if (
        isinstance(reasoning, dict)
        and reasoning.get("effort") != "none"
        and reasoning.get("enabled") is not False
    ):
        return "reasoning"
    return None


def _check_results(messages: list[dict[str, Any]]) -> None:
    """A tool's result must answer a call that the conversation holds."""
    called: set[object] = set()
    for number, message in enumerate(messages):
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            called.update(call.get("id") for call in calls if isinstance(call, dict))
        if message.get("role") == "tool" and message.get("tool_call_id") not in called:
            raise InvalidRequest(
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                "'tool_calls'.",
                f"messages.[{number}].role",
            )


def _images(message: dict[str, Any]) -> int:
    content = message.get("content")
    if not isinstance(content, list):
        return 0
    return sum(isinstance(part, dict) and part.get("type") == "image_url" for part in content)


def _usage(answer: Answer, prompt: PromptTokens) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": prompt.total,
        "completion_tokens": answer.tokens,
        "total_tokens": prompt.total + answer.tokens,
    }
    if prompt.cached:
        usage["prompt_tokens_details"] = {"cached_tokens": prompt.cached}
    if answer.thought_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": answer.thought_tokens}
    return usage


def _message(call: ChatCall, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.tool_call is not None:
        message["content"] = None
        message["tool_calls"] = [_tool_call(answer.tool_call)]
    if call.demand.trace is not None:
        message[call.demand.trace] = answer.thoughts
    return message


def _tool_call(tool_call: ToolCall) -> dict[str, Any]:
    arguments = orjson.dumps(tool_call.arguments).decode()
    function = {"name": tool_call.name, "arguments": arguments}
    return {"id": f"call_{tool_call.ident}", "type": "function", "function": function}


def _completion(
    call: ChatCall, message: dict[str, Any], finish_reason: str, usage: dict[str, Any], timing: Timing
) -> Content:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    data = {**_opening(call, timing, "chat.completion"), "choices": [choice], "usage": usage}
    return plain(JSON, orjson.dumps(data))


def _opening(call: ChatCall, timing: Timing, kind: str) -> dict[str, Any]:
    # Ids need to be plausible, not unique: nothing may depend on them.
    return {
        "id": f"chatcmpl-sim{int(timing.created_at * 1_000_000):x}",
        "object": kind,
        "created": int(timing.created_at),
        "model": call.model,
    }


def _deltas(call: ChatCall, answer: Answer) -> list[dict[str, Any]]:
    """What the chunks add: thoughts, then a tool call or words."""
    deltas: list[dict[str, Any]] = []
    if call.demand.trace is not None:
        deltas += [{call.demand.trace: piece} for piece in pieces(answer.thoughts)]
    if answer.tool_call is None:
        return [*deltas, *({"content": piece} for piece in pieces(answer.text))]
    full = _tool_call(answer.tool_call)
    function = full["function"]
    start = {"index": 0, **full, "function": {"name": function["name"], "arguments": ""}}
    arguments = [{"index": 0, "function": {"arguments": piece}} for piece in pieces(function["arguments"])]
    return [*deltas, *({"tool_calls": [delta]} for delta in (start, *arguments))]


def _chunks(call: ChatCall, deltas: list[dict[str, Any]], finish_reason: str, timing: Timing) -> list[bytes]:
    opening = _opening(call, timing, _CHUNK)
    chunks = [
        data_event({**opening, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        for delta in ({"role": "assistant", "content": ""}, *deltas)
    ]
    last = {"index": 0, "delta": {}, "finish_reason": finish_reason}
    return [*chunks, data_event({**opening, "choices": [last]})]
